"""A provider's secrets: sealed on the way into the database, opened only where a call is made."""

import msgspec

from auterity.engines.http.port import Header
from auterity.engines.secrets.sealing import Sealer
from auterity.platform.models.models import Provider

__all__ = ["ProviderCredentials"]

_KEY_COLUMN = "providers.sealed_key"
_HEADERS_COLUMN = "providers.sealed_headers"
_HINT_LENGTH = 4
_LONG_ENOUGH = 16
"""A hint of a shorter key would give too much of it away."""


class ProviderCredentials:
    """Seals and opens the secret columns of :class:`Provider`, bound to the row's tenant."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def set_key(self, provider: Provider, key: str | None) -> None:
        """Put a key into the row, or take it out."""
        if key is None:
            provider.sealed_key = provider.key_hint = None
            return
        provider.sealed_key = self._sealer.seal(key.encode(), tenant_id=provider.tenant_id, column=_KEY_COLUMN)
        provider.key_hint = key[-_HINT_LENGTH:] if len(key) >= _LONG_ENOUGH else ""

    def set_headers(self, provider: Provider, headers: dict[str, str]) -> None:
        """Put the extra headers into the row; only their names stay readable."""
        provider.header_names = sorted(headers)
        provider.sealed_headers = (
            self._sealer.seal(msgspec.json.encode(headers), tenant_id=provider.tenant_id, column=_HEADERS_COLUMN)
            if headers
            else None
        )

    def key(self, provider: Provider) -> str | None:
        """The key of a row whose secret columns are loaded."""
        if provider.sealed_key is None:
            return None
        return self._sealer.open(provider.sealed_key, tenant_id=provider.tenant_id, column=_KEY_COLUMN).decode()

    def headers(self, provider: Provider) -> tuple[Header, ...]:
        """The extra headers of a row whose secret columns are loaded."""
        if provider.sealed_headers is None:
            return ()
        opened = self._sealer.open(provider.sealed_headers, tenant_id=provider.tenant_id, column=_HEADERS_COLUMN)
        headers = msgspec.json.decode(opened, type=dict[str, str])
        return tuple((name.encode(), value.encode("latin-1")) for name, value in sorted(headers.items()))
