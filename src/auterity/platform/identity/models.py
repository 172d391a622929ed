"""Tables of identity: people, their memberships of tenants, the keys that sign tokens, and counted login attempts."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, false
from sqlalchemy.orm import Mapped, mapped_column

from auterity.engines.database.tables import CreatedAt, Table, Tenant

__all__ = ["LoginAttempts", "Membership", "SigningKeyRow", "User"]


class User(CreatedAt, Table):
    """A person, who may belong to several tenants."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("email = lower(email)", name="email"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    """In lower case: two spellings are one address."""
    name: Mapped[str] = mapped_column(server_default="")
    password_hash: Mapped[str | None] = mapped_column(deferred=True)
    """Argon2id; the application's role cannot read it."""
    operator: Mapped[bool] = mapped_column(server_default=false())


class Membership(CreatedAt, Table):
    """A person's roles in a tenant."""

    __tablename__ = "memberships"

    tenant_id: Mapped[str] = mapped_column(ForeignKey(Tenant.id, ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"), primary_key=True, index=True)
    roles: Mapped[list[str]]


class SigningKeyRow(CreatedAt, Table):
    """An Ed25519 key pair that signs access tokens."""

    __tablename__ = "signing_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    public_key: Mapped[bytes]
    """32 bytes, RFC 8032."""
    sealed_private_key: Mapped[bytes]


class LoginAttempts(Table):
    """Attempts to log in to one account, or from one address, since a moment."""

    __tablename__ = "login_attempts"

    subject: Mapped[bytes] = mapped_column(primary_key=True)
    """A keyed hash: the table names nobody."""
    attempts: Mapped[int]
    since: Mapped[datetime]
