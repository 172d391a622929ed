"""The Ed25519 keys that sign access tokens: in the database, sealed by the master key, shared by all workers."""

import asyncio
import base64
from collections.abc import Mapping
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from auterity.engines.database.sessions import Database
from auterity.engines.secrets.sealing import Sealer
from auterity.kit.clock import Clock
from auterity.kit.ids import new_id
from auterity.platform.identity.models import SigningKeyRow
from auterity.platform.identity.repository import IdentityRepository

__all__ = ["SigningKeys"]

_COLUMN = "signing_keys.sealed_private_key"
_RELOAD_PAUSE_NS = 5_000_000_000
"""A token with an unknown key id costs at most one look into the database every 5 s."""


class SigningKeys:
    """The newest key signs, all that are kept verify."""

    def __init__(self, database: Database, sealer: Sealer, clock: Clock) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self._keys: dict[str, OKPKey] = {}
        self._signing: OKPKey | None = None
        self._loaded_ns = 0
        self._loading = asyncio.Lock()

    async def signing(self) -> OKPKey:
        """The key that signs now; the first one is made here, once for all servers that ask at the same time.

        Raises:
            SealBroken: the master key that sealed it is not here.
        """
        if self._signing is None:
            async with self._loading:
                if self._signing is None:
                    return await self._load()
        return self._signing

    async def verifying(self, key_id: str) -> OKPKey | None:
        """The key of this id; another node may have made it a moment ago."""
        found = self._keys.get(key_id)
        if found is None and (not self._keys or self._clock.monotonic_ns() - self._loaded_ns > _RELOAD_PAUSE_NS):
            async with self._loading:
                if key_id not in self._keys:
                    await self._load()
            found = self._keys.get(key_id)
        return found

    async def public(self) -> Mapping[str, str]:
        """The public keys in base64url, by id."""
        await self.signing()
        return {key_id: cast(str, key.as_dict(private=False)["x"]) for key_id, key in self._keys.items()}

    async def rotate(self) -> None:
        """Make a new key, which signs from now on; other workers go on signing with theirs until they start anew."""
        async with self._loading:
            async with self._database.platform() as scope:
                await IdentityRepository(scope.session).add(self._new_row())
            await self._load()

    async def _load(self) -> OKPKey:
        async with self._database.platform() as scope:
            repository = IdentityRepository(scope.session)
            rows = await repository.signing_keys()
            if not rows:
                await repository.lock_signing_keys()
                rows = await repository.signing_keys()
            if not rows:
                rows = [self._new_row()]
                await repository.add(*rows)
        self._keys = {row.id: self._opened(row) for row in rows}
        self._signing = self._keys[rows[0].id]
        self._loaded_ns = self._clock.monotonic_ns()
        return self._signing

    def _new_row(self) -> SigningKeyRow:
        private = Ed25519PrivateKey.generate()
        return SigningKeyRow(
            id=new_id("jwk"),
            public_key=private.public_key().public_bytes_raw(),
            sealed_private_key=self._sealer.seal(private.private_bytes_raw(), tenant_id="", column=_COLUMN),
            created_at=self._clock.now(),
        )

    def _opened(self, row: SigningKeyRow) -> OKPKey:
        private = self._sealer.open(row.sealed_private_key, tenant_id="", column=_COLUMN)
        return OKPKey.import_key(
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": _base64url(row.public_key),
                "d": _base64url(private),
                "kid": row.id,
                "use": "sig",
                "alg": "Ed25519",
            }
        )


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
