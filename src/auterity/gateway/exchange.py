"""The exchange: the one value that travels through the pipeline. A stage reads what earlier stages wrote."""

from dataclasses import dataclass, field
from enum import StrEnum

from auterity.engines.counters.port import RateDecision
from auterity.engines.http.port import HttpResponse
from auterity.engines.telemetry.traces import Trace
from auterity.gateway.inbound import Inbound
from auterity.gateway.plan import TenantPlan
from auterity.gateway.reply import Reply, Request
from auterity.kit.errors import AuterityError
from auterity.kit.tokens import TokenUsage
from auterity.platform.keys.plan import KeyPlan
from auterity.platform.models.plan import DeploymentPlan, ModelPlan
from auterity.platform.usage.event import Attempt
from auterity.providers.contract import Endpoint, ModelCall, StreamDecoder

__all__ = ["Exchange", "Hold", "Outcome"]


class Outcome(StrEnum):
    """How a call ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    """The client left before it had all of its answer."""
    INTERRUPTED = "interrupted"
    """The provider died in the middle of a stream."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside for this call until its true cost is known."""

    budget: str
    amount: int
    """Nano-dollars."""


@dataclass(slots=True)
class Exchange:
    """One call on its way."""

    id: str
    """``req_…``; the client sees it as ``x-request-id``."""
    endpoint: Endpoint
    request: Request
    reply: Reply
    started_us: int
    """Microseconds since the Unix epoch."""
    started_ns: int
    """On the monotonic clock."""

    trace: Trace | None = None
    """Set where calls are traced."""

    # authenticate
    key: KeyPlan | None = None
    plan: TenantPlan | None = None

    # admit
    claimed: bool = False
    """Room in the usage spool is claimed for this call's event."""
    rate: RateDecision | None = None
    body: bytes = b""
    inbound: Inbound | None = None
    tags: dict[str, str] = field(default_factory=dict[str, str])
    model: ModelPlan | None = None
    hold: Hold | None = None

    # recall
    cache: str = "off"

    # route
    candidates: tuple[DeploymentPlan, ...] = ()

    # call
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    served: DeploymentPlan | None = None
    upstream: HttpResponse | None = None
    """A stream's answer that still holds its connection."""
    decoder: StreamDecoder | None = None
    usage: TokenUsage | None = None
    answer: bytes = b""
    """A plain call's whole answer, sent once the call is recorded."""
    ours_ns: int = 0
    """Our own work within attempts, such as reading what came."""
    provider_ns: int = 0
    """Time spent waiting for providers, and for the client to take what was streamed."""
    first_byte_ns: int = 0

    # settle
    cost_nano: int = 0
    unpriced: bool = False

    outcome: Outcome = Outcome.OK
    error: AuterityError | None = None

    @property
    def holder(self) -> KeyPlan:
        """The key, once authenticated."""
        if self.key is None:
            raise RuntimeError("nobody is authenticated yet")
        return self.key

    @property
    def call(self) -> ModelCall:
        """The checked request, once admitted."""
        if self.inbound is None:
            raise RuntimeError("the request is not read yet")
        return self.inbound.call

    def fail(self, error: AuterityError) -> None:
        """Note that the call ends with this error."""
        self.error = error
        if self.outcome is Outcome.OK:
            self.outcome = Outcome.ERROR
