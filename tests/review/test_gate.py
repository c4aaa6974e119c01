"""What risks ask for, and what is missing: the rules alone."""

from reconciler import data, review
from reconciler.document import yaml
from reconciler.errors import Problem
from reconciler.forge import SignOff
from reconciler.review import gate
from reconciler.review.gate import Rule
from reconciler.site import policy
from tests.review import sample


def rules(text: str) -> gate.Rules:
    return gate.rules("south", policy.alone(yaml.load(text.encode(), "reconciler.yml")))


def test_every_risk_can_be_asked_for() -> None:
    known = set(data.schema("reconciler")["properties"]["review"]["properties"]["require"]["properties"])
    assert known == set(review.KINDS)
    shown = data.schema("plan")["properties"]["risks"]["items"]["properties"]["kind"]["enum"]
    assert set(shown) == {*review.KINDS, "held", "acknowledged"}


def test_a_rule_for_each_risk() -> None:
    assert rules("{}").required == {}
    found = rules(
        "review: {require: {deletion: approval, secret: {label: announced}, stateful: approval, policy: nobody,\n"
        "  image: {label: seen, by: anybody}}}"
    )
    assert found.context == "reconciler/south/review"
    wanted = gate.demands(("deletion", "job", "secret", "stateful", "image"), found)
    assert wanted == {Rule(): ("deletion", "stateful"), Rule("announced"): ("secret",), Rule("seen", True): ("image",)}


def test_what_is_missing_is_said_with_why() -> None:
    found = rules("review: {require: {deletion: approval, secret: {label: announced}}}")
    wanted = gate.demands(("deletion", "secret"), found)
    verdict = gate.verdict(wanted, (), found)
    assert (verdict.state, verdict.text) == (
        "failed",
        "needs an approval by somebody else than the author (deletion) and the label 'announced' set by somebody else than the "
        "author (secret)",
    )
    given = (SignOff("op", part="the author"), SignOff("ana", flaw="given before the last push: give it again"))
    verdict = gate.verdict(wanted, (*given, SignOff("bea", "announced")), found)
    assert verdict.text == (
        "needs an approval by somebody else than the author (deletion); op's does not count: the author; "
        "ana's does not count: given before the last push: give it again"
    )
    # A label is no approval, an approval no label, and the first that counts is enough.
    assert gate.verdict(wanted, (SignOff("bea"),), found).state == "failed"
    verdict = gate.verdict(wanted, (*given, SignOff("bea"), SignOff("bea", "announced")), found)
    assert (verdict.state, verdict.text) == ("success", "approved by bea; label 'announced' set by bea")


def test_a_word_is_for_the_risks_that_were_there() -> None:
    found = rules("review: {require: {deletion: approval, job: approval, image: {label: seen, by: anybody}}}")
    wanted = gate.demands(("deletion", "job", "image"), found)
    first = gate.since(None, ("job",), 100.0)
    both = gate.since(first, ("deletion", "job", "image"), 200.0)
    assert (first, both) == ({"job": 0.0}, {"deletion": 200.0, "job": 0.0, "image": 200.0})
    given = (SignOff("ana", at=150.0), SignOff("op", "seen", at=150.0))
    verdict = gate.verdict(wanted, given, found, both)
    assert verdict.text == (
        "needs an approval by somebody else than the author (deletion, job) and the label 'seen' (image); "
        "ana's does not count: given before the plan had deletion: look at it, and give it again; "
        "op's does not count: given before the plan had image: look at it, and give it again"
    )
    assert gate.verdict(gate.demands(("job",), found), given, found, both).state == "success"
    again = (SignOff("ana", at=250.0), SignOff("op", "seen", at=250.0), SignOff("bea", at=150.0))
    assert gate.verdict(wanted, again, found, both).state == "success"
    assert gate.verdict(wanted, (SignOff("ana"), SignOff("op", "seen", at=250.0)), found, both).state == "failed"
    # What goes and comes back is new.
    assert gate.since(gate.since(both, ("job",), 300.0), ("deletion", "job"), 400.0) == {"deletion": 400.0, "job": 0.0}


def test_a_label_that_the_author_may_set() -> None:
    found = rules("review: {require: {image: {label: seen, by: anybody}}}")
    wanted = gate.demands(("image",), found)
    assert gate.verdict(wanted, (SignOff("op", "seen", part="the author"),), found).state == "success"
    assert (
        gate.verdict(wanted, (SignOff("op", "seen", part="the author", flaw="given by a bot"),), found).state
        == "failed"
    )


def test_rules_that_cannot_be_read_ask_for_everything() -> None:
    found = gate.unreadable("south", "reconciler.yml:3:1: must be text")
    for kind in review.KINDS:
        verdict = gate.verdict(gate.demands((kind,), found), (), found)
        assert verdict.state == "failed" and "reconciler.yml:3:1: must be text" in verdict.text
    assert gate.demands((), found) == {}


def test_nothing_to_compare_with_has_every_risk() -> None:
    """A base that is not valid would otherwise be a way around every rule."""
    found = sample.review()
    assert set(gate.kinds(found)) < set(review.KINDS)
    assert (
        gate.kinds(review.Review("south", "a", "b", base_problems=(Problem("globals.yml", 1, 1, "no"),)))
        == review.KINDS
    )
