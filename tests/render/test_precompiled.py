"""What was compiled beforehand gives what compiling gives, and is used for nothing else than what it was made of."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.catalogue import Catalogue
from reconciler.catalogue import load as load_catalogue
from reconciler.codec import to_json
from reconciler.render import World, environment, precompiled, render
from reconciler.render.failures import line_of
from reconciler.render.meter import Meter
from reconciler.source import precompile, prepare
from tests.services import golden
from tests.site.generate import make_cloud

_COMPILER = b"c" * 32


@pytest.fixture(autouse=True)
def nothing_beforehand() -> Iterator[None]:
    yield
    environment.take({})


def test_a_whole_cloud_is_the_same_and_only_its_own_texts_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    site = prepare.load({**make_cloud(8), "passwords.yml": golden.passwords(prepare.shipped())})
    world = World(site)
    environment.take({})
    plain = to_json(render(site, "ctl01", "x", world)), world.meter.steps, world.meter.size
    made = precompiled.read(precompiled.make(prepare.shipped(), _COMPILER), _COMPILER)
    assert made
    environment.take(made)
    compiled: list[str] = []

    def noted(source: str, native: bool, options: tuple[tuple[str, object], ...]) -> environment.Translated:
        compiled.append(source)
        return translated(source, native, options)

    translated = environment.translated
    monkeypatch.setattr(environment, "translated", noted)
    world = World(site)
    assert (to_json(render(site, "ctl01", "x", world)), world.meter.steps, world.meter.size) == plain
    render(site, "cmp0001", "x", World(site))
    assert sorted(compiled) == sorted(
        text.decode() for name, text in make_cloud(8).items() if name.startswith("config/nova") and b"{" in text
    ), "what the catalogue says was compiled although it had been before"


def _catalogue(text: str) -> Catalogue:
    service = """
description: A web server.
containers:
  web:
    image: "example/web:{{ 1 + 1 }}"
    group: all
    kolla: false
    files:
      - {name: web.conf, template: web.conf.j2, target: /etc/web.conf}
"""
    files = {"web/service.yml": service.encode(), "web/templates/web.conf.j2": text.encode()}
    return load_catalogue(files, "catalogue", trusted=True)


_TEXT = "one\n{% set a = 'x' %}\n{{ a.missing }}\nfour\n"


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda content: content[:-1], id="cut short"),
        pytest.param(lambda content: content[:-1] + bytes([content[-1] ^ 1]), id="a bit of the code"),
        pytest.param(lambda content: content[:40], id="nothing but the beginning"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"R" + content[1:], id="another format"),
        pytest.param(lambda content: content + b"\0", id="something after it"),
    ],
)
def test_a_file_that_is_not_whole_is_not_read(harm) -> None:  # type: ignore[no-untyped-def]
    content = precompiled.make(_catalogue(_TEXT), _COMPILER)
    assert precompiled.read(content, _COMPILER)
    assert precompiled.read(harm(content), _COMPILER) is None


def test_what_another_compiler_made_is_not_read() -> None:
    content = precompiled.make(_catalogue(_TEXT), b"o" * 32)
    assert precompiled.read(content, _COMPILER) is None


def test_a_text_that_was_changed_since_is_compiled_anew() -> None:
    made = precompiled.read(precompiled.make(_catalogue("{{ 1 }} before"), _COMPILER), _COMPILER)
    assert made and ("{{ 1 }} before", False, ()) in made
    environment.take(made)
    assert environment.compiled("{{ 2 }} after", False).run({}, Meter()) == "2 after"
    assert environment.compiled("{{ 1 }} before", False).run({}, Meter()) == "1 before"


def test_an_error_has_the_line_that_it_has_without() -> None:
    lines = []
    for beforehand in (False, True):
        made = precompiled.read(precompiled.make(_catalogue(_TEXT), _COMPILER), _COMPILER) or {}
        assert (_TEXT, False, ()) in made
        environment.take(made if beforehand else {})
        with pytest.raises(Exception) as caught:
            environment.compiled(_TEXT, False).run({}, Meter())
        lines.append((line_of(caught.value), str(caught.value)))
    assert lines[0] == lines[1] and lines[0][0] == 3


def test_a_text_with_an_error_is_left_to_where_it_is_used() -> None:
    made = precompiled.read(precompiled.make(_catalogue("{{ 1 +"), _COMPILER), _COMPILER)
    assert made and all("1 +" not in source or "1 + 1" in source for source, _, _ in made)


def test_the_program_is_changed_and_what_was_compiled_counts_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command writes it, a process with the same compiler takes it, one with another refuses it."""
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    assert not precompile.load(), "there is nothing yet"
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    words = [sys.executable, "-m", "reconciler.source.precompile"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout == f"wrote {precompile.path()}\n"
    assert precompile.path().is_relative_to(tmp_path)
    assert precompile.load() and environment.compiled("{{ openstack_tag }}-", False)
    monkeypatch.setattr(precompile, "compiler", lambda: b"n" * 32)
    assert not precompile.load()


def test_a_folder_that_cannot_be_written_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(sys, "pycache_prefix", str(blocked))
    assert precompile.main() == 1
    assert "cannot be written" in capsys.readouterr().err
