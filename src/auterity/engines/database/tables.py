"""How tables are written: one metadata, one naming convention, and the columns that tenants' tables share."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, LargeBinary, MetaData, Text, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

__all__ = ["CreatedAt", "Table", "Tenant", "TenantOwned", "metadata"]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Names that a migration can count on. The migrations use the same convention."""


class Table(DeclarativeBase):
    """Base of all mapped tables.

    Python types decide the column types: ``str`` is TEXT, ``int`` BIGINT (nano-dollars fit), ``datetime`` a moment
    with time zone, ``bytes`` BYTEA, ``list[str]`` TEXT[], ``dict`` JSONB.
    """

    metadata = metadata
    type_annotation_map: ClassVar[dict[Any, TypeEngine[Any]]] = {
        str: Text(),
        int: BigInteger(),
        bytes: LargeBinary(),
        datetime: TIMESTAMP(timezone=True),
        list[str]: ARRAY(Text()),
        dict[str, str]: JSONB(),
        dict[str, Any]: JSONB(),
    }


class CreatedAt:
    """When the row was written; the database's clock, for people to read and never for logic."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=90)


class Tenant(CreatedAt, Table):
    """A tenant: what all that row-level security guards belongs to. ``platform/tenancy`` has its use-cases."""

    __tablename__ = "tenants"
    __table_args__ = (CheckConstraint("status IN ('active', 'suspended')", name="status"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    """A short name for addresses and the command line."""
    name: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="active")
    """``active``, or ``suspended``: its keys are refused, its data stays."""
    settings: Mapped[dict[str, Any]]


class TenantOwned(CreatedAt):
    """A row that belongs to one tenant. Its migration calls ``guard`` so that no other tenant can see it."""

    tenant_id: Mapped[str] = mapped_column(ForeignKey(Tenant.id, ondelete="CASCADE"), index=True, sort_order=-1)
