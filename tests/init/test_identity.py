"""Keys that `init` makes: BIP 173's own vectors, and the real sops."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import errors
from reconciler.cli import scaffold
from reconciler.secrets import sops

_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
# BIP 173, "Test vectors": valid Bech32 strings.
VECTORS = [
    "a12uel5l",
    "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
    "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
    "11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j",
    "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
    "?1ezyfcl",
]


def decoded(text: str) -> tuple[str, bytes | None]:
    """Prefix and bytes of a Bech32 text; None when its letters make no whole number of bytes. Decoding by the letter."""
    prefix, _, rest = text.rpartition("1")
    bits = "".join(f"{_LETTERS.index(letter):05b}" for letter in rest[:-6])
    whole, padding = divmod(len(bits), 8)
    if padding >= 5 or "1" in bits[whole * 8 :]:
        return prefix, None
    return prefix, bytes(int(bits[n * 8 : n * 8 + 8], 2) for n in range(whole))


@pytest.mark.parametrize("text", VECTORS)
def test_the_vectors_of_bip_173(text: str) -> None:
    prefix, content = decoded(text)
    if content is None:
        pytest.fail(f"{text} carries no bytes: not a vector for an encoder of bytes")
    assert scaffold._bech32(prefix, content) == text


@settings(max_examples=100, deadline=None)
@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20), st.binary(max_size=64))
def test_decoded_again(prefix: str, content: bytes) -> None:
    text = scaffold._bech32(prefix, content)
    assert decoded(text) == (prefix, content)


def test_the_real_sops_takes_the_key(tmp_path: Path) -> None:
    content, recipient = scaffold.new_identity(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    lines = content.reveal().splitlines()
    assert lines[:2] == ["# created: 2026-01-02T03:04:05Z", f"# public key: {recipient}"]
    key = tmp_path / "key"
    key.write_text(content.reveal())
    encrypted = sops.encrypt({"password": "correct horse"}, [recipient])
    opened = sops.decrypt(encrypted, name="p.yml", keys=sops.Keys(key))
    assert opened["password"].reveal() == "correct horse"
    assert sops.identities(sops.Keys(key)) == [recipient]
    prefix, raw = decoded(lines[2].lower())
    assert prefix == "age-secret-key-" and raw is not None
    public = X25519PrivateKey.from_private_bytes(raw).public_key()
    assert decoded(recipient) == ("age", public.public_bytes(Encoding.Raw, PublicFormat.Raw))

    other, _ = scaffold.new_identity(datetime.now(UTC))
    assert other.reveal() != content.reveal()
    key.write_text(other.reveal())
    with pytest.raises(errors.Terminal) as caught:
        sops.decrypt(encrypted, name="p.yml", keys=sops.Keys(key))
    assert caught.value.reason == "SopsNoKey"
