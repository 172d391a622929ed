"""Turns the ``Authorization`` header of a management call into a principal."""

from collections import OrderedDict

from auterity.engines.database.sessions import Database
from auterity.kit.clock import Clock
from auterity.platform.identity.errors import TokenRefused
from auterity.platform.identity.principal import Principal
from auterity.platform.identity.repository import IdentityRepository
from auterity.platform.identity.tokens import AccessTokens

__all__ = ["TokenAuthenticator"]

_FRESH_NS = 60 * 1_000_000_000
_MOST_REMEMBERED = 10_000


class TokenAuthenticator:
    """Verifies the token, and once a minute that its holder still is a member, and in which roles.

    Who is removed from a tenant or loses a role therefore loses the access within a minute, although the token lasts.
    """

    def __init__(self, database: Database, tokens: AccessTokens, clock: Clock) -> None:
        self._database = database
        self._tokens = tokens
        self._clock = clock
        self._standings: OrderedDict[tuple[str, str], tuple[int, Principal]] = OrderedDict()

    async def principal(self, authorization: str | None) -> Principal:
        """
        Raises:
            TokenRefused: no token, not ours, expired, or its holder is no member any more.
            DatabaseUnavailable: the membership cannot be checked.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenRefused("An access token is missing.")
        claimed = await self._tokens.verify(token.strip())
        return await self._standing(claimed)

    async def _standing(self, claimed: Principal) -> Principal:
        person = (claimed.user_id, claimed.tenant_id)
        now = self._clock.monotonic_ns()
        remembered = self._standings.get(person)
        if remembered is not None and now - remembered[0] < _FRESH_NS:
            return remembered[1]
        async with self._database.user(claimed.user_id) as scope:
            found = await IdentityRepository(scope.session).standing(*person)
        if found is None:
            self._standings.pop(person, None)
            raise TokenRefused("You are no longer a member of this tenant.")
        user, membership = found
        principal = Principal(user.id, membership.tenant_id, frozenset(membership.roles), user.operator)
        self._standings[person] = (now, principal)
        self._standings.move_to_end(person)
        if len(self._standings) > _MOST_REMEMBERED:
            self._standings.popitem(last=False)
        return principal
