"""A tenant's models as the hot path needs them: everything resolved, nothing left to look up."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from auterity.engines.http.port import Timeouts, Transport
from auterity.platform.models.prices import PriceCard
from auterity.providers.contract import Endpoint, Target, Wire

__all__ = ["DeploymentPlan", "ModelPlan"]


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """One upstream model at one provider, ready to call."""

    id: str
    provider: str
    """The configured provider's name."""
    kind: str
    """The wire's name: ``openai_compatible``, ``anthropic``, ``sandbox``."""
    wire: Wire
    transport: Transport
    target: Target
    price: PriceCard | None
    """None where no price is known; whether such a call is served is the model's setting ``allow_unpriced``."""
    context_window: int | None
    max_output_tokens: int | None
    weight: int = 1
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """One public model name and what can serve it, in order of preference."""

    name: str
    created: int
    """Seconds since the Unix epoch, as ``/v1/models`` shows it."""
    owned_by: str
    endpoints: frozenset[Endpoint]
    deployments: tuple[DeploymentPlan, ...]
    allow_unpriced: bool = False
    facts: Mapping[str, str | int | bool] = field(default_factory=dict[str, str | int | bool])
    """Further fields for ``/v1/models``, e.g. ``context_window``, or ``sandbox: true``."""
