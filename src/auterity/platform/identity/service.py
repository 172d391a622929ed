"""Use-cases of identity: log in, see oneself, add people."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError

from auterity.engines.database.sessions import Database, Scope
from auterity.kit.ids import new_id
from auterity.platform.identity.errors import EmailTaken, LoginFailed, NoTenant, TokenRefused, UserNotFound
from auterity.platform.identity.models import Membership, User
from auterity.platform.identity.passwords import Passwords
from auterity.platform.identity.principal import Principal
from auterity.platform.identity.repository import IdentityRepository
from auterity.platform.identity.throttle import LoginThrottle
from auterity.platform.identity.tokens import AccessToken, AccessTokens

__all__ = ["IdentityService", "Login", "Self"]


@dataclass(frozen=True, slots=True)
class Login:
    """A token and the tenant it is for."""

    token: AccessToken
    principal: Principal


@dataclass(frozen=True, slots=True)
class Self:
    """A person and all her memberships."""

    user: User
    memberships: Sequence[Membership]


class IdentityService:
    """People and their logins."""

    def __init__(
        self, database: Database, *, passwords: Passwords, throttle: LoginThrottle, tokens: AccessTokens
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._throttle = throttle
        self._tokens = tokens

    async def login(self, email: str, password: str, *, address: str, tenant_id: str | None = None) -> Login:
        """Exchange credentials for an access token.

        Args:
            email: in any spelling of case.
            password: as typed.
            address: the caller's network address, for the throttle.
            tenant_id: one of the person's tenants; None: the first she joined.

        Raises:
            LoginFailed: wrong, in whatever way; the work done is the same for each.
            TooManyLogins: somebody may be guessing.
            NoTenant: the password is right, and she is no member of the tenant.
        """
        email = email.lower()
        await self._throttle.admit(email, address)
        async with self._database.platform() as scope:
            user = await IdentityRepository(scope.session).user_of_email(email)
        stored = user.password_hash if user is not None else None
        if not await self._passwords.verify(stored, password) or user is None or stored is None:
            raise LoginFailed
        await self._throttle.clear(email)
        if self._passwords.is_outdated(stored):
            await self.set_password(email, password)
        async with self._database.user(user.id) as scope:
            memberships = await IdentityRepository(scope.session).memberships(user.id)
        for membership in memberships:
            if tenant_id in {None, membership.tenant_id}:
                principal = Principal(user.id, membership.tenant_id, frozenset(membership.roles), user.operator)
                return Login(await self._tokens.issue(principal), principal)
        raise NoTenant

    async def me(self, actor: Principal) -> Self:
        """The person who acts.

        Raises:
            TokenRefused: she has been removed since.
        """
        async with self._database.user(actor.user_id) as scope:
            repository = IdentityRepository(scope.session)
            standing = await repository.standing(actor.user_id, actor.tenant_id)
            if standing is None:
                raise TokenRefused("You are no longer a member of this tenant.")
            return Self(standing[0], await repository.memberships(actor.user_id))

    async def create_user(
        self,
        email: str,
        password: str,
        *,
        tenant_id: str,
        roles: Collection[str],
        name: str = "",
        operator: bool = False,
    ) -> User:
        """Add a person to a tenant.

        Raises:
            EmailTaken: somebody has the address.
        """
        password_hash = await self._passwords.hash(password)
        async with self._database.platform() as scope:
            return await self.create_user_in(
                scope, email, password_hash, tenant_id=tenant_id, roles=roles, name=name, operator=operator
            )

    async def create_user_in(
        self,
        scope: Scope,
        email: str,
        password_hash: str,
        *,
        tenant_id: str,
        roles: Collection[str],
        name: str = "",
        operator: bool = False,
    ) -> User:
        """As :meth:`create_user`, as a part of a larger use-case of the operator, with the password hashed already."""
        user = User(id=new_id("usr"), email=email.lower(), name=name, password_hash=password_hash, operator=operator)
        membership = Membership(tenant_id=tenant_id, user_id=user.id, roles=sorted(roles))
        try:
            await IdentityRepository(scope.session).add(user, membership)
        except IntegrityError as error:
            raise EmailTaken from error
        return user

    async def set_password(self, email: str, password: str) -> None:
        """Replace a person's password; what an operator on the server's own machine can always do.

        Raises:
            UserNotFound: nobody has this address.
        """
        password_hash = await self._passwords.hash(password)
        async with self._database.platform() as scope:
            user = await IdentityRepository(scope.session).user_of_email(email)
            if user is None:
                raise UserNotFound
            user.password_hash = password_hash
            await scope.session.flush()

    async def hash_password(self, password: str) -> str:
        """For :meth:`create_user_in`: hashing takes too long to be done inside a transaction."""
        return await self._passwords.hash(password)
