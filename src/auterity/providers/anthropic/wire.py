"""Anthropic's Messages API over HTTP."""

from collections.abc import Sequence
from typing import Final

from auterity.engines.http.port import Header, HttpRequest
from auterity.kit.clock import Clock, SystemClock
from auterity.providers.anthropic.answer import read_message
from auterity.providers.anthropic.request import messages_request
from auterity.providers.anthropic.stream import AnthropicStreamDecoder
from auterity.providers.contract import (
    Answer,
    Endpoint,
    ModelCall,
    ProviderRefusal,
    StreamDecoder,
    Target,
    UntranslatableRequest,
)
from auterity.providers.refusals import read_refusal

__all__ = ["ANTHROPIC_VERSION", "AnthropicWire"]

ANTHROPIC_VERSION: Final = b"2023-06-01"
"""The version of the API that this wire was written for; a header of the target's may name another."""

_ENDPOINTS: Final[frozenset[Endpoint]] = frozenset({"chat.completions"})


class AnthropicWire:
    """Implements :class:`auterity.providers.contract.Wire`. The base URL may end in ``/v1`` or leave it out."""

    __slots__ = ("_clock",)

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    @property
    def name(self) -> str:
        return "anthropic"

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        return _ENDPOINTS

    def request(self, call: ModelCall, target: Target) -> HttpRequest:
        if call.endpoint not in _ENDPOINTS:
            raise UntranslatableRequest(f"Anthropic has no {call.endpoint}.", param="model")
        accept = b"text/event-stream" if call.stream else b"application/json"
        headers = ((b"content-type", b"application/json"), (b"accept", accept), *_headers(target))
        return HttpRequest("POST", _url(target, "/messages"), headers, messages_request(call, target))

    def answer(self, call: ModelCall, target: Target, body: bytes) -> Answer:  # noqa: ARG002 (the port's shape)
        return read_message(body, self._now())

    def refusal(self, status: int, headers: Sequence[Header], body: bytes) -> ProviderRefusal:
        return read_refusal(status, headers, body, self._clock)

    def decoder(self, call: ModelCall, target: Target) -> StreamDecoder:  # noqa: ARG002 (the port's shape)
        return AnthropicStreamDecoder(self._now())

    def models_request(self, target: Target) -> HttpRequest | None:
        headers = ((b"accept", b"application/json"), *_headers(target))
        return HttpRequest("GET", _url(target, "/models"), headers, b"")

    def _now(self) -> int:
        return self._clock.epoch_us() // 1_000_000


def _url(target: Target, path: str) -> str:
    base = target.base_url if target.base_url.endswith("/v1") else target.base_url + "/v1"
    return f"{base}{path}?{target.query}" if target.query else base + path


def _headers(target: Target) -> tuple[Header, ...]:
    """Version and key, unless the target's own headers hold them."""
    given = {name for name, _ in target.headers}
    headers: list[Header] = []
    if target.api_key is not None and not given & {b"x-api-key", b"authorization"}:
        headers.append((b"x-api-key", target.api_key.encode()))
    if b"anthropic-version" not in given:
        headers.append((b"anthropic-version", ANTHROPIC_VERSION))
    return (*headers, *target.headers)
