"""Files that are no text: copied byte for byte where an entry says `verbatim`, refused everywhere else."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from reconciler import catalogue, site
from reconciler.codec import from_json, to_json
from reconciler.errors import SiteInvalid
from reconciler.model import Desired, File
from reconciler.plan import preview
from reconciler.plan.redact import HIDDEN, file_diff
from reconciler.render import bind, bind_tree, digest, render, render_tree
from reconciler.review.shape import readable
from tests.render.sites import INVENTORY, VARIABLES, file

EVERYTHING = bytes(range(256)) + b"\r\n\0<<secret:nobody>> {{ nobody }}\xff\n\rno newline at the end"
SERVICE = """
description: An application
containers:
  app:
    image: r/app:1
    command: run
    files:
      - {name: logo.png, overrides: [app/logo.png], verbatim: true, optional: true, destination: /logo.png}
      - {name: theme, overrides: ["theme/**"], verbatim: true, optional: true, destination: /theme}
      - {name: rendered, overrides: [app/rendered], optional: true}
      - {name: merged, overrides: [app/merged], verbatim: true, merge: ini, optional: true}
      - {name: one.json, overrides: [app/one.json], verbatim: true, optional: true}
      - {name: also, overrides: [app/both], verbatim: true, optional: true}
      - {name: text, overrides: [app/both], optional: true}
"""


def made(files: dict[str, bytes]) -> Desired:
    shipped = {"base/variables.yml": VARIABLES, "app/service.yml": SERVICE}
    known = catalogue.load({path: text.encode() for path, text in shipped.items()}, "catalogue")
    content = {"inventory.yml": INVENTORY.encode(), **{f"config/{path}": data for path, data in files.items()}}
    return render(site.load(content, known), "ctl1", "0" * 40)


def problems(files: dict[str, bytes]) -> list[str]:
    with pytest.raises(SiteInvalid) as caught:
        made(files)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "data",
    [
        EVERYTHING,
        b"\0",
        b"\xff",
        b"\x1f\x8b\x08\0gz",
        "UTF-16".encode("utf-16"),
        b"\xef\xbb\xbfBOM\r\nand CRLF\r",
        b"<<\xfe>>",
        b"",
    ],
)
def test_every_byte_arrives(data: bytes) -> None:
    desired = made({"app/logo.png": data, "theme/deep/er/font.woff2": data})
    again = from_json(
        Desired, json.loads(json.dumps(to_json(desired)))
    )  # as last-good.json and the child's answer have it
    for state in (desired, again):
        for path in ("app/logo.png", "app/theme/deep/er/font.woff2"):
            assert bind_tree(state, {})[path] == render_tree(state)[path] == file(state, path).data == data
            assert not file(state, path).secrets
    assert again == desired


def test_a_copied_text_stays_a_text_whose_secrets_are_written() -> None:
    found = file(made({"app/logo.png": b"\xef\xbb\xbfa\r\n"}), "app/logo.png")
    assert (found.encoding, found.content) == ("", "\ufeffa\r\n")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("app/rendered", "config/app/rendered:2:4: is not UTF-8 text"),
        ("app/merged", "config/app/merged:2:4: is not UTF-8 text"),
        ("app/one.json", "config/app/one.json:2:4: is not UTF-8 text"),
        ("app/both", "config/app/both:2:4: is not UTF-8 text"),
    ],
)
def test_what_is_read_as_text_has_to_be_text(path: str, message: str) -> None:
    assert problems({path: b"abc\nabc\xff"})[0].startswith(message)


def test_a_pointer_of_git_lfs_is_not_the_image() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    assert "is a pointer of Git LFS" in problems({"app/logo.png": pointer})[0]


def test_more_than_fits_names_the_largest_file() -> None:
    files = {f"theme/{number}": b"\xff" * (3 << 20) for number in range(5)} | {"theme/large": b"\xff" * (4 << 20)}
    (found,) = problems(files)
    assert found.startswith("config/theme/large:1:1: the files of ctl1 that are no text have 19.0 MiB")


def test_what_is_no_base64_is_no_file() -> None:
    for content in ("a", "a===", "ä===", "<<secret:a>>"):
        with pytest.raises(ValueError):
            File("a", content, encoding="base64")
    base = to_json(made({"app/logo.png": b"\xff"}))
    entry: Any = next(item for item in base["files"] if item["path"] == "app/logo.png")
    entry["content"] = "?"
    with pytest.raises(ValueError):
        from_json(Desired, base)


def test_a_text_that_looks_like_the_bytes_is_another_thing() -> None:
    """The base64 of some bytes, as a text of its own, is a change, of which nothing that failed before is known."""
    binary, plain = made({"app/logo.png": b"\xff\xff\xff"}), made({"app/logo.png": b"////"})
    assert file(binary, "app/logo.png").content == file(plain, "app/logo.png").content
    assert digest.part_digest(binary, "app") != digest.part_digest(plain, "app")


def test_reviews_say_how_large_it_is_and_its_digest() -> None:
    old, new = b"\x89PNG" * 1000, b"\x89PNG" * 400_000
    before, after = made({"app/logo.png": old}), made({"app/logo.png": new})
    plan = readable(preview(before, after, bind=bind), before, after)
    (write,) = [action for action in plan.actions if action.target == "app/logo.png"]
    assert write.diff.splitlines()[3:] == [
        f"-binary, 3.9 KiB, sha256 {hashlib.sha256(old).hexdigest()}",
        f"+binary, 1.5 MiB, sha256 {hashlib.sha256(new).hexdigest()}",
    ]
    assert preview(after, after, bind=bind).empty


def test_nothing_of_what_lies_in_its_place_is_shown() -> None:
    """What is on the disk may be a secret, whose digest would tell it to whoever guesses."""
    wanted = File("app/logo.png", "/w==", encoding="base64")
    before = replace(wanted, content="/v4=")
    for found in (b"pin\0 4711", b"password = \xff", b"pin = 4711\n"):
        text = file_diff(wanted, wanted.data, found, before)
        assert HIDDEN in text and "4711" not in text and "password" not in text
        assert hashlib.sha256(found).hexdigest() not in text
        assert f"+{wanted.shown}" in text
    assert f"-{before.shown}" in file_diff(wanted, wanted.data, before.data, before)
    assert hashlib.sha256(b"\0").hexdigest() in file_diff(wanted, wanted.data, b"\0", None, plain=True)
    secret = File("app/app.conf", "pin = <<secret:pin>>\n", secrets=("pin",))
    text = file_diff(secret, b"pin = 4711\n", wanted.data, wanted)
    assert f"-{wanted.shown}" in text and "4711" not in text
