"""Runs beside the containers of this host: with the image, volumes and configuration of one, and nothing that makes it a service."""

from dataclasses import replace
from typing import Any

from reconciler.model import Container, Job, Memory


def carried_out(memory: Memory) -> tuple[Container, ...]:
    """This host's containers, as they were last carried out."""
    return memory.last_good.containers if memory.last_good else ()


def once(container: Container, purpose: str, seconds: float, **changes: Any) -> Job:
    """A run called after the container and its purpose, for at most so many seconds. `changes` are other fields of it."""
    name = f"{container.name}_{purpose}"
    spec = replace(container, name=name, healthcheck=None, restart_policy="no", depends_on=(), ports=(), **changes)
    return Job(name=name, container=spec, inputs="", timeout=seconds)
