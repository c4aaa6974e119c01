"""The create request of a container: its options, and the labels that say whose it is."""

from collections.abc import Mapping
from typing import Any

from reconciler.model import Container
from reconciler.options import requests
from reconciler.options.normal import digest, engine_filled, normal
from reconciler.options.table import LABEL_PREFIX

OWNER = LABEL_PREFIX + "owner"  # the key of the installation that made it: nothing else says whose it is
SITE = LABEL_PREFIX + "site"  # <site>/<host>, for people
SERVICE = LABEL_PREFIX + "service"
SPEC = LABEL_PREFIX + "spec"  # digest of the options it was made with
EXPLICIT = LABEL_PREFIX + "explicit"  # which options were set that the engine would have filled in
JOB = LABEL_PREFIX + "job"  # the job's name, on one-shot containers
CLAIM = LABEL_PREFIX + "claim"  # with which claim of the site's record a one-shot container runs


def create(container: Container, *, owner: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The request's body. `owner` is the installation's key; `labels` are further labels of ours (the site's, a job's)."""
    body = requests.create(container)
    return {**body, "Labels": {**body["Labels"], **ownership(container, owner), **(labels or {})}}


def ownership(container: Container, owner: str) -> dict[str, str]:
    """The labels that say whose the container is and what it was made from."""
    found = {OWNER: owner, SERVICE: container.service, SPEC: digest(container)}
    explicit = ",".join(sorted(engine_filled(normal(container))))
    return {**found, EXPLICIT: explicit} if explicit else found
