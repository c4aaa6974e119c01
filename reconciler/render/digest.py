"""Stable digests of desired state: for labels and for telling whether what failed before has changed since."""

import dataclasses
import hashlib
import json
from typing import Any

from reconciler import codec, model
from reconciler.options import normal


def spec_digest(container: model.Container) -> str:
    """SHA-256 of what the engine is asked for, in its normal spelling; 64 hex digits. No file enters it."""
    return normal.digest(container)


def part_digest(desired: model.Desired, container_name: str) -> str:
    """SHA-256 of what makes up one container: its options, its files, the ciphertexts of its secrets; not its neighbours.

    It changes when a secret is rotated and needs no key. Raises KeyError when there is no such container.
    """
    container = next((item for item in desired.containers if item.name == container_name), None)
    if container is None:
        raise KeyError(container_name)
    files = [file for file in desired.files if file.container == container_name]
    return _digest(
        {
            "container": codec.to_json(dataclasses.replace(container, depends_on=())),
            "files": [_file(file) for file in files],
            "secrets": {name: desired.secrets.get(name, "") for file in files for name in file.secrets},
        }
    )


def _file(file: model.File) -> list[Any]:
    of_text = [file.path, file.content, file.mode, file.owner, file.group]
    return [*of_text, file.encoding] if file.encoding else of_text


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
