"""Values sealed for one place: AES-256-GCM under the master key, readable only for the tenant and column they are of.

Envelope: version (1 byte, ``01``) · master key's id (8) · nonce (12) · ciphertext · tag (16). The tenant and the column
are associated data: a value that is copied to another row's tenant or another column does not open. Each tenant has a
key of its own (HKDF-SHA256, RFC 5869), so that the 2³² random nonces that NIST SP 800-38D §8.3 allows a key are never
reached.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from auterity.engines.secrets.errors import SealBroken
from auterity.engines.secrets.port import KEY_BYTES, MasterKey, MasterKeys

__all__ = ["Sealer"]

_VERSION = b"\x01"
_ID_END = 9
_NONCE_END = 21
_OVERHEAD = _NONCE_END + 16


class Sealer:
    """Seals with the current master key, opens with any that still holds."""

    def __init__(self, master_keys: MasterKeys) -> None:
        """
        Raises:
            MasterKeyUnusable: there is no usable key.
        """
        keys = tuple(master_keys.keys())
        self._current = keys[0]
        self._oldest = keys[-1]
        self._by_id = {key.id: key for key in keys}

    def seal(self, plaintext: bytes, *, tenant_id: str, column: str) -> bytes:
        """Return an envelope.

        Args:
            plaintext: the secret value.
            tenant_id: whose it is; ``""`` for the platform's own.
            column: where it is kept, ``table.column``.
        """
        head = _VERSION + self._current.id
        nonce = os.urandom(12)
        cipher = AESGCM(_tenant_key(self._current, tenant_id))
        return head + nonce + cipher.encrypt(nonce, plaintext, _place(head, tenant_id, column))

    def open(self, envelope: bytes, *, tenant_id: str, column: str) -> bytes:
        """Return what was sealed for this tenant and column.

        Raises:
            SealBroken: another key, another place, or changed bytes.
        """
        head = envelope[:_ID_END]
        key = self._by_id.get(head[1:])
        if key is None or len(envelope) < _OVERHEAD or head[:1] != _VERSION:
            raise SealBroken(
                f"A value of {column} was sealed with a master key that is not here; add that key to the master keys."
            )
        try:
            return AESGCM(_tenant_key(key, tenant_id)).decrypt(
                envelope[_ID_END:_NONCE_END], envelope[_NONCE_END:], _place(head, tenant_id, column)
            )
        except InvalidTag as error:
            raise SealBroken(f"A value of {column} has been changed or moved; set it again.") from error

    def is_current(self, envelope: bytes) -> bool:
        """Say whether a value is sealed with the current key; others are to be sealed again before a key is dropped."""
        return envelope[:_ID_END] == _VERSION + self._current.id

    def derive(self, purpose: str) -> bytes:
        """A subkey of 32 bytes, always the same for the same purpose, that tells nothing about other subkeys.

        It comes from the oldest master key, so that it stays when a new one is added: what was hashed with it can
        not be hashed again.
        """
        return _expand(self._oldest, f"subkey\0{purpose}")


def _tenant_key(key: MasterKey, tenant_id: str) -> bytes:
    return _expand(key, f"seal\0{tenant_id}")


def _expand(key: MasterKey, purpose: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"auterity v1\0" + purpose.encode()).derive(key.secret)


def _place(head: bytes, tenant_id: str, column: str) -> bytes:
    """Associated data; the length keeps two parts from being read as two others."""
    tenant = tenant_id.encode()
    return head + len(tenant).to_bytes(4, "big") + tenant + column.encode()
