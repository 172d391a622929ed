"""authenticate: the virtual key in the request → the key's and the tenant's compiled plans."""

from collections.abc import Callable, Mapping

from auterity.gateway.errors import InvalidApiKey, TenantSuspended
from auterity.gateway.exchange import Exchange
from auterity.gateway.plan import PlanCache, TenantPlan
from auterity.kit.clock import Clock
from auterity.platform.keys.plan import KeyPlan

__all__ = ["Authenticate"]

_LONGEST_KEY = 512


class Authenticate:
    """Finds out who calls. Afterwards ``exchange.key`` and ``exchange.plan`` are set."""

    def __init__(
        self, plans: PlanCache, hash_secret: Callable[[str], bytes], note_use: Callable[[str, int], None], clock: Clock
    ) -> None:
        """
        Args:
            plans: keys and tenants at hand.
            hash_secret: turns a secret into the hash that it is stored under.
            note_use: is told each key that is used, and when (microseconds since the Unix epoch).
            clock: decides what has expired.
        """
        self._plans = plans
        self._hash_secret = hash_secret
        self._note_use = note_use
        self._clock = clock

    async def __call__(self, exchange: Exchange) -> None:
        exchange.key, exchange.plan = await self._find(exchange.request.headers)
        # From here on the call is somebody's: whatever comes of it is recorded as theirs.
        self._check(exchange.key, exchange.plan)
        self._note_use(exchange.key.id, exchange.started_us)

    async def identify(self, headers: Mapping[bytes, bytes]) -> tuple[KeyPlan, TenantPlan]:
        """The key and the plan of whoever sent these headers.

        Raises:
            InvalidApiKey: nobody, or no longer.
            TenantSuspended: the key is good, but may not be used now.
        """
        key, plan = await self._find(headers)
        self._check(key, plan)
        return key, plan

    async def _find(self, headers: Mapping[bytes, bytes]) -> tuple[KeyPlan, TenantPlan]:
        secret_hash = self._hash_secret(_presented(headers))
        found = self._plans.at_hand(secret_hash) or await self._plans.find(secret_hash)
        if found is None:
            raise InvalidApiKey("Incorrect API key provided. Check it with your administrator, or create a new one.")
        return found

    def _check(self, key: KeyPlan, plan: TenantPlan) -> None:
        if key.revoked:
            raise InvalidApiKey("This API key has been revoked. Create a new one.")
        if key.expires_at is not None and key.expires_at <= self._clock.now():
            raise InvalidApiKey("This API key has expired. Create a new one, or have its expiry moved.")
        if plan.suspended:
            raise TenantSuspended("This account is suspended; ask your administrator.")


def _presented(headers: Mapping[bytes, bytes]) -> str:
    """The secret, from ``authorization: Bearer``, or ``x-api-key`` and ``api-key`` as other SDKs send it."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, value = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise InvalidApiKey("Send the API key as 'Authorization: Bearer YOUR_KEY'.")
    else:
        value = headers.get(b"x-api-key") or headers.get(b"api-key") or b""
    secret = value.strip().decode("latin-1")
    if not secret or len(secret) > _LONGEST_KEY:
        raise InvalidApiKey(
            "You didn't provide an API key. Send it in an Authorization header: 'Authorization: Bearer YOUR_KEY'."
        )
    return secret
