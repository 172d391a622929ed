"""What a provider's wire does: write the provider's request, read its answer back into OpenAI's shapes.

The shapes inside Auterity are OpenAI's: a wire whose provider speaks them passes bytes on, the others translate.
A wire is pure; sending is the transport's (``engines/http``).
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from auterity.engines.http.port import Header, HttpRequest
from auterity.kit.errors import AuterityError
from auterity.kit.tokens import TokenUsage

__all__ = [
    "Answer",
    "Endpoint",
    "ModelCall",
    "ProviderRefusal",
    "StreamDecoder",
    "Target",
    "UntranslatableRequest",
    "Wire",
]

Endpoint = Literal["chat.completions", "embeddings"]


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request for a model, in OpenAI's shape."""

    endpoint: Endpoint
    model: str
    """The public name that was asked for."""
    fields: Mapping[str, msgspec.Raw]
    """The whole request object, every value as the bytes that came."""
    stream: bool = False
    include_usage: bool = False
    """The client asked for the usage chunk (``stream_options.include_usage``)."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a call goes: one deployment as its wire needs it."""

    base_url: str
    """Without a trailing slash, e.g. ``https://api.openai.com/v1``."""
    api_key: str | None
    upstream_model: str
    public_model: str
    headers: tuple[Header, ...] = ()
    """Extra headers of the provider's configuration."""
    query: str = ""
    """A fixed query string without ``?``, such as Azure's ``api-version=…``."""
    max_output_tokens: int | None = None
    """The most the model can write; wires whose provider demands a limit (Anthropic) send it."""
    accepts_stream_options: bool = True
    """False for servers that speak OpenAI's API but refuse ``stream_options``: they are not asked for usage."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    body: bytes
    """In OpenAI's shape; a provider that speaks it is passed on untouched."""
    usage: TokenUsage | None
    """None where the provider did not tell."""
    finish_reason: str | None = None


class ProviderRefusal(AuterityError):
    """The provider answered with an error status, or with an error event in the middle of a stream.

    ``status`` is what the provider said; the gateway decides what its caller sees.
    """

    code = "provider_error"

    def __init__(
        self,
        message: str,
        *,
        provider_status: int,
        provider_code: str | None = None,
        provider_type: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after=retry_after)
        self.provider_status = provider_status
        self.provider_code = provider_code
        self.provider_type = provider_type


class UntranslatableRequest(AuterityError):
    """The request asks for what this provider cannot do; ``param`` names it. Nothing is dropped silently."""

    code = "unsupported_parameter"
    status = 400


class StreamDecoder(Protocol):
    """Turns one provider stream into OpenAI's server-sent events. Pure: bytes in, bytes out.

    The frames it returns never hold the usage-only chunk nor ``data: [DONE]``: the gateway writes both, once the
    call is metered.
    """

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came, cut anywhere; return the complete frames to forward (``b""`` where none is).

        Raises:
            ProviderRefusal: the provider sent an error event. What came before it is kept in ``pending``.
        """
        ...

    def end(self) -> None:
        """The connection ended in good order. Some providers say no more than that: where every choice has its finish
        reason, the stream is then complete (``finished``) even without the wire's own end mark."""
        ...

    @property
    def pending(self) -> bytes:
        """Frames of the same ``feed`` that preceded an error event."""
        ...

    @property
    def finished(self) -> bool:
        """The provider said that the stream is complete. A stream that ends without it died."""
        ...

    @property
    def usage(self) -> TokenUsage | None:
        """What the provider said of usage, once it has."""
        ...

    @property
    def usage_chunk(self) -> bytes | None:
        """The provider's own usage-only chunk as JSON (``choices: []``), where it sent one."""
        ...

    @property
    def content_events(self) -> int:
        """Forwarded chunks so far: the basis for an estimate when a stream ends early."""
        ...

    @property
    def content_bytes(self) -> int:
        """Bytes of the forwarded frames so far."""
        ...

    @property
    def opening(self) -> tuple[str, int] | None:
        """``id`` and ``created`` of the stream, for the usage chunk that the gateway writes; None before the first."""
        ...


class Wire(Protocol):
    """One provider's way to speak."""

    @property
    def name(self) -> str:
        """The kind as configured, e.g. ``openai_compatible``."""
        ...

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """What this provider can serve."""
        ...

    def request(self, call: ModelCall, target: Target) -> HttpRequest:
        """Write the provider's request. A stream always asks for usage.

        Raises:
            UntranslatableRequest: a field has no counterpart there.
        """
        ...

    def answer(self, call: ModelCall, target: Target, body: bytes) -> Answer:
        """Read a whole successful answer.

        Raises:
            ProviderRefusal: it is not what the provider's contract says.
        """
        ...

    def refusal(self, status: int, headers: Sequence[Header], body: bytes) -> ProviderRefusal:
        """Read an answer with an error status; never raises, whatever the body is."""
        ...

    def decoder(self, call: ModelCall, target: Target) -> StreamDecoder:
        """A decoder for one stream."""
        ...

    def models_request(self, target: Target) -> HttpRequest | None:
        """The request that lists the provider's models, where it has one; used for tests of a connection."""
        ...
