"""Tables of the model catalogue: providers, models, the deployments that serve them, and the tenant's price overlays.

A ``shared`` row belongs to an operator's tenant and is offered to all others: row-level security lets them read it (the
gateway needs the credential to call), and only the operator's role writes it. The API shows other tenants a shared
model, never its provider.
"""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import ForeignKeyConstraint, Index, Numeric, UniqueConstraint, false, text, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from auterity.engines.database.tables import Table, TenantOwned
from auterity.engines.http.port import Timeouts

__all__ = ["Deployment", "Model", "PriceOverlay", "Provider"]


class Provider(TenantOwned, Table):
    """A place where models are called: a kind of wire, an address and a credential."""

    __tablename__ = "providers"
    __table_args__ = (
        Index("ix_providers_shared", "tenant_id", postgresql_where=text("shared")),
        UniqueConstraint("tenant_id", "name"),
        UniqueConstraint("tenant_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    base_url: Mapped[str]
    sealed_key: Mapped[bytes | None] = mapped_column(deferred=True)
    """Loaded only where a call is made; None: the provider asks for no key."""
    key_hint: Mapped[str | None]
    """The key's last characters; None: there is no key, ``""``: it is too short to show any of it."""
    sealed_headers: Mapped[bytes | None] = mapped_column(deferred=True)
    """Extra headers as a JSON object."""
    header_names: Mapped[list[str]]
    query: Mapped[str] = mapped_column(server_default="")
    stream_options: Mapped[bool] = mapped_column(server_default=true())
    """False: the server refuses ``stream_options``, and is not asked for a stream's usage."""
    price_provider: Mapped[str | None]
    """The provider's id in the public price list."""
    timeouts: Mapped[dict[str, float]] = mapped_column(JSONB)
    """Fields of :class:`Timeouts` that differ from its defaults."""
    enabled: Mapped[bool] = mapped_column(server_default=true())
    shared: Mapped[bool] = mapped_column(server_default=false())
    updated_at: Mapped[datetime]

    @property
    def limits(self) -> Timeouts:
        """The timeouts of a call."""
        return Timeouts(**self.timeouts)


class Model(TenantOwned, Table):
    """A public model name that clients ask for."""

    __tablename__ = "models"
    __table_args__ = (
        Index("ix_models_shared", "tenant_id", postgresql_where=text("shared")),
        UniqueConstraint("tenant_id", "name"),
        UniqueConstraint("tenant_id", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    allow_unpriced: Mapped[bool] = mapped_column(server_default=false())
    """Serve calls whose price is not known, and flag them."""
    enabled: Mapped[bool] = mapped_column(server_default=true())
    shared: Mapped[bool] = mapped_column(server_default=false())
    updated_at: Mapped[datetime]

    deployments: Mapped[list["Deployment"]] = relationship(
        primaryjoin="Deployment.model_id == Model.id",
        foreign_keys="Deployment.model_id",
        order_by="(Deployment.position, Deployment.id)",
        lazy="raise",
        viewonly=True,
    )


class Deployment(TenantOwned, Table):
    """One upstream model at one provider that can serve a model."""

    __tablename__ = "deployments"
    __table_args__ = (
        Index("ix_deployments_shared", "tenant_id", postgresql_where=text("shared")),
        UniqueConstraint("model_id", "provider_id", "upstream_model"),
        # The pairs keep a deployment, its model and its provider in one tenant, whatever the program does.
        ForeignKeyConstraint(["tenant_id", "model_id"], ["models.tenant_id", "models.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["tenant_id", "provider_id"], ["providers.tenant_id", "providers.id"]),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str]
    provider_id: Mapped[str] = mapped_column(index=True)
    upstream_model: Mapped[str]
    listed_as: Mapped[str | None]
    """The model's name in the public price list, where the provider knows it by another, as Azure does."""
    position: Mapped[int]
    """Order among the fallbacks: lower is tried first."""
    weight: Mapped[int]
    """Share of the calls; 0: a fallback, tried only after the others."""
    context_window: Mapped[int | None]
    max_output_tokens: Mapped[int | None]
    enabled: Mapped[bool] = mapped_column(server_default=true())
    shared: Mapped[bool] = mapped_column(server_default=false())
    """As its model."""
    updated_at: Mapped[datetime]

    provider: Mapped[Provider] = relationship(
        primaryjoin=lambda: Deployment.provider_id == Provider.id,
        foreign_keys=[provider_id],
        lazy="raise",
        viewonly=True,
    )


class PriceOverlay(TenantOwned, Table):
    """A tenant's own terms: a discount on the list price, or fixed prices."""

    __tablename__ = "price_overlays"
    __table_args__ = (
        Index("ix_price_overlays_shared", "tenant_id", postgresql_where=text("shared")),
        ForeignKeyConstraint(["tenant_id", "provider_id"], ["providers.tenant_id", "providers.id"], ondelete="CASCADE"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    note: Mapped[str] = mapped_column(server_default="")
    provider_id: Mapped[str | None] = mapped_column(index=True)
    upstream_model: Mapped[str | None]
    discount_percent: Mapped[Decimal] = mapped_column(Numeric(9, 6))
    prices: Mapped[dict[str, str]]
    """US dollars per million tokens by kind, as decimal text: JSON numbers are floats."""
    per_request: Mapped[Decimal | None] = mapped_column(Numeric(24, 12))
    batch_multiplier: Mapped[Decimal] = mapped_column(Numeric(9, 6))
    valid_from: Mapped[datetime | None]
    valid_to: Mapped[datetime | None]
    shared: Mapped[bool] = mapped_column(server_default=false())
    """Applies to the shared models too, whoever calls them."""
    updated_at: Mapped[datetime]
