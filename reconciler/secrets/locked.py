"""An encrypted file as it is handed about and kept: ciphertext, which nobody without its key can read."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Locked:
    """An encrypted file: its name, its bytes (base64), and for whom it says that it is encrypted.

    `whole`: it is one secret of this name, and its content to the last byte the value.
    """

    name: str
    content: str
    recipients: tuple[str, ...] = ()
    whole: str = ""
