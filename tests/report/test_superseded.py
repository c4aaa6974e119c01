"""The last word on a commit that a newer one took the place of."""

from reconciler.report.summary import superseded

OLD, NEW = "a" * 40, "b" * 40


def test_what_was_never_carried_out_whole_is_canceled_and_what_was_stays_a_success() -> None:
    found = superseded(OLD, NEW, whole=False)
    assert (found.commit, found.state) == (OLD, "canceled")
    assert found.description == f"{NEW[:12]} took its place before it was carried out completely"
    assert superseded(OLD, NEW, whole=True).state == "success"
    assert superseded(OLD, NEW, "try/x", whole=True).description.startswith("testing branch try/x: ")
