"""What was compiled beforehand gives what compiling gives, and is used for nothing else than what it was made of."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jinja2.compiler
import pytest

from reconciler import catalogue, data, errors
from reconciler.catalogue import Catalogue
from reconciler.catalogue import load as load_catalogue
from reconciler.codec import to_json
from reconciler.document import yaml
from reconciler.render import World, compiling, precompiled, render
from reconciler.render.failures import line_of
from reconciler.render.meter import Meter
from reconciler.source import beforehand, precompile, prepare, site_child
from tests.services import golden
from tests.site.generate import make_cloud


@pytest.fixture(autouse=True)
def nothing_beforehand() -> Iterator[None]:
    yield
    compiling.take({})


def test_a_whole_cloud_is_the_same_and_only_its_own_texts_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    site = prepare.load({**make_cloud(8), "passwords.yml": golden.passwords(prepare.shipped())})
    world = World(site)
    compiling.take({})
    plain = to_json(render(site, "ctl01", "x", world)), world.meter.steps, world.meter.size
    made = precompiled.read(precompiled.make(prepare.shipped()))
    assert made
    compiling.take(made)
    compiled: list[str] = []

    def noted(source: str, native: bool, options: tuple[tuple[str, object], ...]) -> compiling.Translated:
        compiled.append(source)
        return translated(source, native, options)

    translated = compiling.translated
    monkeypatch.setattr(compiling, "translated", noted)
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


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What is made beforehand lies here."""
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda content: content[:-1], id="cut short"),
        pytest.param(lambda content: content[:-1] + bytes([content[-1] ^ 1]), id="one bit"),
        pytest.param(lambda content: content[:40], id="nothing but the beginning"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"R" + content[1:], id="another format"),
        pytest.param(lambda content: content + b"\0", id="something after it"),
    ],
)
def test_a_file_that_is_not_whole_counts_as_absent(folder: Path, harm: Callable[[bytes], bytes]) -> None:
    path = beforehand.keep("test", b"content", b"source")
    assert path.is_relative_to(folder)
    assert beforehand.kept("test", b"source") == b"content"
    path.write_bytes(harm(path.read_bytes()))
    assert beforehand.kept("test", b"source") is None


@pytest.mark.usefixtures("folder")
def test_what_another_program_made_or_of_something_else_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    beforehand.keep("test", b"content", b"source")
    assert beforehand.kept("test", b"newer source") is None
    assert beforehand.kept("test") is None
    assert beforehand.kept("other", b"source") is None
    monkeypatch.setattr(beforehand, "program", lambda: b"newer program")
    assert beforehand.kept("test", b"source") is None


def test_every_module_that_decides_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = beforehand.digest
    monkeypatch.setattr(beforehand, "digest", lambda content: [read.extend(content), whole(content)][1])
    beforehand.program.__wrapped__()
    for module in (compiling, precompiled, catalogue, yaml, errors, jinja2.compiler):
        assert module.__file__ in read


def test_a_text_that_was_changed_since_is_compiled_anew() -> None:
    made = precompiled.read(precompiled.make(_catalogue("{{ 1 }} before")))
    assert made and ("{{ 1 }} before", False, ()) in made
    compiling.take(made)
    assert compiling.compiled("{{ 2 }} after", False).run({}, Meter()) == "2 after"
    assert compiling.compiled("{{ 1 }} before", False).run({}, Meter()) == "1 before"


def test_an_error_has_the_line_that_it_has_without() -> None:
    lines = []
    for used in (False, True):
        made = precompiled.read(precompiled.make(_catalogue(_TEXT))) or {}
        assert (_TEXT, False, ()) in made
        compiling.take(made if used else {})
        with pytest.raises(Exception) as caught:
            compiling.compiled(_TEXT, False).run({}, Meter())
        lines.append((line_of(caught.value), str(caught.value)))
    assert lines[0] == lines[1] and lines[0][0] == 3


def test_a_text_with_an_error_is_left_to_where_it_is_used() -> None:
    made = precompiled.read(precompiled.make(_catalogue("{{ 1 +")))
    assert made and all("1 +" not in source or "1 + 1" in source for source, _, _ in made)


def test_the_catalogue_is_what_reading_it_gives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command writes it, a process takes it, one whose catalogue says one thing more reads it anew."""
    assert not site_child.compiled_beforehand(), "there is nothing yet"
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder)}
    words = [sys.executable, "-m", "reconciler.source.precompile"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"wrote {beforehand.path(kind)}" for kind in ("catalogue", "texts")]
    assert site_child.compiled_beforehand()
    services = data.services()
    made, read = beforehand.catalogue(services), catalogue.load(services, "catalogue", trusted=True)
    assert made is not None and made is not read
    assert _told(made) == _told(read)
    changed = {**services, "cron/service.yml": services["cron/service.yml"] + b"# more\n"}
    assert beforehand.catalogue(changed) is None
    monkeypatch.setattr(data, "services", lambda: changed)
    assert prepare.shipped.__wrapped__().services["cron"].name == "cron"


def _told(found: Catalogue) -> object:
    """All that a catalogue says, with the place and the spelling of each value."""
    places = [
        (service.name, service.document.place(path), service.document.place(path, key=True), repr(value))
        for service in found.services.values()
        for path, value in _parts((), service.document.data)
    ]
    rest = {name: (one.templates, one.variables, one.origin, one.shared) for name, one in found.services.items()}
    return places, rest, found.variables, found.warnings


def _parts(path: tuple[str | int, ...], value: object) -> Iterator[tuple[tuple[str | int, ...], object]]:
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from _parts((*path, key), part)


def test_a_folder_that_cannot_be_written_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(sys, "pycache_prefix", str(blocked))
    assert precompile.main() == 1
    assert "nothing can be written into" in capsys.readouterr().err
