"""Tables of virtual keys: the key with its rights, and its one or two secrets."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from auterity.engines.database.tables import Table, TenantOwned
from auterity.platform.identity.models import User

__all__ = ["KeySecret", "VirtualKey"]


class VirtualKey(TenantOwned, Table):
    """What a client calls the gateway with."""

    __tablename__ = "virtual_keys"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        CheckConstraint("requests_per_minute > 0", name="requests_per_minute"),
        CheckConstraint("monthly_budget_nano >= 0", name="monthly_budget_nano"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    user_id: Mapped[str | None] = mapped_column(ForeignKey(User.id, ondelete="SET NULL"), index=True)
    """The owner; None: a key of no person."""
    allowed_models: Mapped[list[str] | None]
    """None: all of the tenant's models."""
    requests_per_minute: Mapped[int | None]
    monthly_budget_nano: Mapped[int | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    tags: Mapped[dict[str, str]]
    last_used_at: Mapped[datetime | None]
    """Right to a minute or so."""
    secrets: Mapped[list["KeySecret"]] = relationship(
        lazy="raise", order_by="KeySecret.created_at.desc(), KeySecret.hash", passive_deletes=True
    )


class KeySecret(TenantOwned, Table):
    """A secret of a key, hashed. The one without an end is current; one with an end is being rotated out."""

    __tablename__ = "key_secrets"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "key_id"], ["virtual_keys.tenant_id", "virtual_keys.id"], ondelete="CASCADE"
        ),
    )

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(index=True)
    hint: Mapped[str]
    expires_at: Mapped[datetime | None]
