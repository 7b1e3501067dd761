"""Whether two age keys are a pair. With the wrong secret key every backup could be written, and none read.

Keys are X25519 in Bech32 (age-encryption.org/v1, section "The X25519 recipient type"; BIP 173).
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from blobforge.backup import BackupError, Keys

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM = 6  # characters


def check_pair(keys: Keys) -> None:
    """Raises BackupError when a key is no age key, or when the two do not belong together."""
    secret = _decode(keys.secret, "age-secret-key-", "BLOBFORGE_LITESTREAM_AGE_SECRET_KEY")
    public = _decode(keys.public, "age", "BLOBFORGE_LITESTREAM_AGE_PUBLIC_KEY")
    if X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() != public:
        raise BackupError(
            "BLOBFORGE_LITESTREAM_AGE_SECRET_KEY and ..._PUBLIC_KEY are not a pair: what one encrypts the other "
            "could not read; `age-keygen -y` shows the public key that belongs to a secret one"
        )


def _decode(text: str, prefix: str, variable: str) -> bytes:
    """The 32 bytes of a key. The error never shows the key."""
    lowered = text.lower()
    name, _, data = lowered.rpartition("1")
    values = [_ALPHABET.find(character) for character in data]
    if name == prefix and text in (lowered, text.upper()) and -1 not in values and _polymod(name, values) == 1:
        key = _bytes(values[:-_CHECKSUM])
        if len(key) == 32:
            return key
    raise BackupError(f"{variable} is not a key as `age-keygen` makes them ({prefix.upper()}1...): copy it anew")


def _polymod(name: str, values: Iterable[int]) -> int:
    """BIP 173's checksum over the prefix and the values; 1 when it is right."""
    expanded = [ord(c) >> 5 for c in name] + [0] + [ord(c) & 31 for c in name]
    check = 1
    for value in [*expanded, *values]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            check ^= generator if top >> bit & 1 else 0
    return check


def _bytes(values: Iterable[int]) -> bytes:
    """Groups of five bits as bytes; what is left over is padding."""
    bits = "".join(f"{value:05b}" for value in values)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))
