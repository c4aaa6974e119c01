"""What ansible-vault encrypted (formats 1.1 and 1.2, AES256), opened in memory."""

import binascii
import hashlib
import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from reconciler import errors
from reconciler.document.yaml import Place
from reconciler.reasons import Reason
from reconciler.secret import Secret

HEADER: Final = b"$ANSIBLE_VAULT;"
_ROUNDS: Final = 10_000  # the format's own


class Vault:
    """Opens with the passwords that were given: a file may be of any of them, as with several vault ids."""

    def __init__(self, *passwords: Secret) -> None:
        self._passwords = passwords

    @property
    def has_passwords(self) -> bool:
        """Whether it can open anything at all."""
        return bool(self._passwords)

    def open(self, content: bytes, place: Place) -> Secret:
        """The text in it. Raises errors.Terminal with the place, never with a part of the content."""
        if not self._passwords:
            raise _wrong(place, "is encrypted with ansible-vault: give --vault-password-file")
        salt, signature, text = _parts(content, place)
        for password in self._passwords:
            keys = hashlib.pbkdf2_hmac("sha256", password.reveal().encode(), salt, _ROUNDS, 80)
            if hmac.compare_digest(hmac.digest(keys[32:64], text, "sha256"), signature):
                return _decrypted(text, keys[:32], keys[64:], place)
        raise _wrong(place, "the vault password does not open it, or it was altered")


def _parts(content: bytes, place: Place) -> tuple[bytes, bytes, bytes]:
    """Salt, HMAC and ciphertext."""
    lines = content.split()
    words = lines[0].split(b";") if lines else []
    if len(words) < 3 or words[1] not in (b"1.1", b"1.2") or words[2] != b"AES256":
        raise _wrong(
            place, "is in a format of ansible-vault other than 1.1 or 1.2 with AES256: `ansible-vault rekey` it"
        )
    try:
        salt, signature, text = map(binascii.unhexlify, binascii.unhexlify(b"".join(lines[1:])).split(b"\n", 2))
    except ValueError:  # binascii.Error too
        raise _wrong(place, "is cut short, or is not what ansible-vault writes") from None
    return salt, signature, text


def _decrypted(text: bytes, key: bytes, counter: bytes, place: Place) -> Secret:
    reader = Cipher(algorithms.AES(key), modes.CTR(counter)).decryptor()
    unpadder = PKCS7(128).unpadder()
    try:
        padded = reader.update(text) + reader.finalize()
        return Secret((unpadder.update(padded) + unpadder.finalize()).decode())
    except ValueError:  # UnicodeDecodeError too
        raise _wrong(place, "does not hold a text") from None


def _wrong(place: Place, what: str) -> errors.Terminal:
    where = place if place.line else place.file
    return errors.Terminal(f"{where}: {what}", reason=Reason.ImportImpossible)
