"""What `node install` does where a node is already: settings that differ, and a daemon that has the ones of before."""

from pathlib import Path
from typing import Any

import pytest

from reconciler import errors, settings
from reconciler.cli import install
from reconciler.daemon import presence
from reconciler.reasons import Reason
from reconciler.system import run

TEXT = '[git]\nurl = "https://git.example.org/s.git"\n'
ENABLED = ["systemctl", "enable", "--now", "reconciler"]
RESTARTED = ["systemctl", "restart", "reconciler"]


@pytest.mark.parametrize(
    ("runs", "anew", "last"),
    [(False, True, ENABLED), (True, False, ENABLED), (True, True, RESTARTED)],
)
def test_a_daemon_that_runs_is_started_anew_with_what_was_written(
    monkeypatch: pytest.MonkeyPatch, runs: bool, anew: bool, last: list[str]
) -> None:
    asked: list[list[str]] = []

    def program(words: list[str], **_: Any) -> run.Completed:
        asked.append(words)
        return run.Completed(0 if runs or "is-active" not in words else 3, b"", b"")

    monkeypatch.setattr(run, "program", program)
    monkeypatch.setattr(Path, "is_dir", lambda self: True)
    install._start(Path("/"), Path("/etc/reconciler/reconciler.toml"), start=True, anew=anew, say=lambda *_: None)
    assert asked[-1] == last and ENABLED in asked


def test_what_is_overwritten_by_force_is_shown_and_kept(tmp_path: Path) -> None:
    path, said = tmp_path / "reconciler.toml", list[str]()

    def say(text: str, _: str = "") -> None:
        said.append(text)

    install._require_same(path, TEXT, False, say)
    path.write_text(f"{TEXT}[fleet]\netcd = []\n")
    with pytest.raises(errors.Terminal) as caught:
        install._require_same(path, TEXT, False, say)
    assert caught.value.reason is Reason.SettingsDiffer and not said
    install._require_same(path, TEXT, True, say)
    kept = tmp_path / "reconciler.toml.before"
    assert kept.read_text() == path.read_text() and kept.stat().st_mode & 0o777 == 0o600
    assert str(kept) in said[0] and "-[fleet]" in said[1]
    path.write_text(TEXT)
    install._require_same(path, TEXT, True, lambda *_: pytest.fail("there is nothing to say"))


def test_a_daemon_tells_with_which_settings_it_was_started(tmp_path: Path) -> None:
    first, second = (settings.parse(text, tmp_path / "x.toml") for text in (TEXT, f"{TEXT}# another\n"))
    assert first.digest != second.digest and first == second
    held = presence.Presence(tmp_path, first.digest)
    try:
        found = presence.find(tmp_path)
        assert found is not None and found.settings == first.digest
        with held.working():
            found = presence.find(tmp_path)
            assert found is not None and found.began and found.settings == first.digest
    finally:
        held.close()
