"""What is read of a container that keeps backups: all of a long list, and of nonsense that it is nonsense."""

import json
from dataclasses import asdict

import pytest

from reconciler import errors
from reconciler.codec import UNREADABLE, from_json
from reconciler.engine import Engine
from reconciler.model import Container
from reconciler.node import backups
from reconciler.node.backups import Backup, Verified

pytestmark = pytest.mark.engine

ONE = Backup("incremental-20261127T050000Z", "incremental", "incremental-20261127T040000Z", "10.11.6", "e" * 64, 1795755600, 1795755700, 5 << 30, 1 << 30)  # fmt: skip


def keeper(name: str) -> Container:
    return Container(
        name,
        "reconciler-test/busybox:1",
        command=("sh", "-c", "exec sleep 1000000"),
        labels={backups.LABEL: "/tmp/program"},
        stop_signal="SIGKILL",
        stop_timeout=1,
    )


def says(engine: Engine, container: Container, text: str, times: int = 1) -> None:
    """Have its program answer `text`, `times` on lines of their own between brackets, for whatever it is asked."""
    rows = f"echo '['; i=1; while [ $i -lt {times} ]; do echo '{text},'; i=$((i+1)); done; echo '{text}]'"
    script = rows if times > 1 else f"echo '{text}'"
    code, said = engine.execute(
        container.name, ["sh", "-c", 'printf "%s" "$0" > /tmp/program; chmod +x /tmp/program', f"#!/bin/sh\n{script}\n"]
    )
    assert code == 0, said


def test_a_long_list_is_read_whole_and_nonsense_is_said_to_be(engine: Engine, name: str) -> None:
    container = keeper(name)
    engine.create(container)
    engine.start(name)
    says(engine, container, json.dumps(asdict(ONE)), 700)  # one every hour, for a month
    assert backups.listed(engine, container) == (ONE,) * 700
    for field, value in (("started", 10**30), ("ended", -1), ("verified", 10**300), ("size", 10**400), ("packed", -1)):
        says(engine, container, json.dumps([asdict(ONE) | {field: value}]))
        with pytest.raises(errors.Terminal, match="answers what is not understood"):
            backups.listed(engine, container)
    says(engine, container, "[" * 20_000)
    with pytest.raises(errors.Terminal, match="answers what is not understood"):
        backups.listed(engine, container)


def test_a_trial_that_says_impossible_numbers_is_not_understood() -> None:
    """The program lies in a container, whose image may be anybody's."""
    one = Verified("full-20261127T023000Z", 60, files=2, bytes=1 << 40)
    assert from_json(Verified, asdict(one)) == one
    for field, value in (("bytes", 10**400), ("rows", -1), ("seconds", 1 << 63), ("files", True), ("tables", 1.5)):
        with pytest.raises(UNREADABLE):
            from_json(Verified, asdict(one) | {field: value})
