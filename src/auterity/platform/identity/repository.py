"""All SQL of identity. People belong to no tenant: most of it runs in the operator's scope or a person's own."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Row, case, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from auterity.platform.identity.models import LoginAttempts, Membership, SigningKeyRow, User

__all__ = ["IdentityRepository"]

_SIGNING_KEYS_LOCK = 0x7369676E6B657973
"""Key of an advisory lock; the letters "signkeys"."""


class IdentityRepository:
    """Identity's rows, in one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, *rows: User | Membership | SigningKeyRow) -> None:
        """
        Raises:
            IntegrityError: there is such a row.
        """
        for row in rows:
            self._session.add(row)
            await self._session.flush()

    async def user_of_email(self, email: str) -> User | None:
        """A person with the password's hash."""
        return await self._session.scalar(
            select(User).where(User.email == email.lower()).options(undefer(User.password_hash))
        )

    async def any_user(self) -> bool:
        """Say whether anybody is there."""
        return await self._session.scalar(select(User.id).limit(1)) is not None

    async def memberships(self, user_id: str) -> Sequence[Membership]:
        """A person's memberships, oldest first."""
        query = select(Membership).where(Membership.user_id == user_id)
        return (await self._session.scalars(query.order_by(Membership.created_at, Membership.tenant_id))).all()

    async def standing(self, user_id: str, tenant_id: str) -> Row[User, Membership] | None:
        """A person and her membership of one tenant."""
        return (
            await self._session.execute(
                select(User, Membership)
                .join(Membership, Membership.user_id == User.id)
                .where(User.id == user_id, Membership.tenant_id == tenant_id)
            )
        ).one_or_none()

    # Signing keys

    async def lock_signing_keys(self) -> None:
        """Let one process at a time make a signing key."""
        await self._session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SIGNING_KEYS_LOCK})

    async def signing_keys(self) -> Sequence[SigningKeyRow]:
        """All signing keys, newest first."""
        query = select(SigningKeyRow).order_by(SigningKeyRow.created_at.desc(), SigningKeyRow.id.desc())
        return (await self._session.scalars(query)).all()

    # Login attempts

    async def count_attempt(self, subject: bytes, now: datetime, window_start: datetime) -> tuple[int, datetime]:
        """Count one attempt; returns how many there were, this one included, and since when."""
        over = LoginAttempts.since <= window_start
        counted = (
            insert(LoginAttempts)
            .values(subject=subject, attempts=1, since=now)
            .on_conflict_do_update(
                index_elements=[LoginAttempts.subject],
                set_={
                    "attempts": case((over, 1), else_=LoginAttempts.attempts + 1),
                    "since": case((over, now), else_=LoginAttempts.since),
                },
            )
            .returning(LoginAttempts.attempts, LoginAttempts.since)
        )
        attempts, since = (await self._session.execute(counted)).one()
        return attempts, since

    async def forget_attempts(self, *, before: datetime) -> None:
        """Remove some counts whose window is over, but for those that are being counted at this moment."""
        over = (
            select(LoginAttempts.subject)
            .where(LoginAttempts.since <= before)
            .limit(100)
            .with_for_update(skip_locked=True)
        )
        await self._session.execute(delete(LoginAttempts).where(LoginAttempts.subject.in_(over)))

    async def clear_attempts(self, subject: bytes) -> None:
        """Forget one count."""
        await self._session.execute(delete(LoginAttempts).where(LoginAttempts.subject == subject))
