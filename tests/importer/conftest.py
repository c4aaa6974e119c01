"""What tests of the import share."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.cli.scaffold import new_identity


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A new age identity: the file with its key, and its recipient."""
    secret, recipient = new_identity(datetime.now(UTC))
    file = tmp_path_factory.mktemp("key") / "age.key"
    file.write_text(secret.reveal())
    return file, recipient
