"""OpenAI's API over HTTP: requests and answers pass through but for the model's name and the wish for usage."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from auterity.engines.http.port import Header, HttpRequest
from auterity.kit.clock import Clock, SystemClock
from auterity.providers.contract import (
    Answer,
    Endpoint,
    ModelCall,
    ProviderRefusal,
    StreamDecoder,
    Target,
    UntranslatableRequest,
)
from auterity.providers.openai.stream import OpenAIStreamDecoder
from auterity.providers.openai.usage import ReportedUsage, read_usage, token_usage
from auterity.providers.refusals import invalid_answer, read_refusal, refusal_of
from auterity.providers.untyped import UNREADABLE, decoded

__all__ = ["OpenAIWire"]

_PATHS: Final[Mapping[Endpoint, str]] = {"chat.completions": "/chat/completions", "embeddings": "/embeddings"}
_ENDPOINTS: Final[frozenset[Endpoint]] = frozenset(_PATHS)
_JSON: Final[Header] = (b"content-type", b"application/json")
_ACCEPT_JSON: Final[Header] = (b"accept", b"application/json")
_ACCEPT_STREAM: Final[Header] = (b"accept", b"text/event-stream")
_WITH_USAGE: Final = msgspec.Raw(b'{"include_usage":true}')
_TRUE: Final = msgspec.Raw(b"true")
_ABSENT: Final = msgspec.Raw(b"null")


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: ReportedUsage | None = None


class _Embeddings(msgspec.Struct):
    data: msgspec.Raw
    usage: ReportedUsage | None = None


class _Parts(msgspec.Struct):
    """Any answer, unread: for those that do not fit the shapes above."""

    choices: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


_REFUSE_STREAM_OPTIONS: Final = ("https://api.mistral.ai/",)
"""Mistral answers ``stream_options`` with status 422 (extra_forbidden), and tells usage unasked in its last chunk."""
_MAX_CHOICES: Final = 128
"""OpenAI's limit for ``n``."""

_encode = msgspec.json.Encoder().encode
_options_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_completion_decoder = msgspec.json.Decoder(_Completion)
_embeddings_decoder = msgspec.json.Decoder(_Embeddings)
_parts_decoder = msgspec.json.Decoder(_Parts)
_choices_decoder = msgspec.json.Decoder(list[_Choice])


class OpenAIWire:
    """Implements :class:`auterity.providers.contract.Wire` for every provider that speaks OpenAI's API.

    Azure OpenAI is reached by its ``base_url``, ``query="api-version=…"`` and an ``api-key`` header in the target.
    """

    __slots__ = ("_clock", "_name")

    def __init__(self, name: str = "openai_compatible", clock: Clock | None = None) -> None:
        self._name = name
        self._clock = clock or SystemClock()

    @property
    def name(self) -> str:
        return self._name

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        return _ENDPOINTS

    def request(self, call: ModelCall, target: Target) -> HttpRequest:
        body: dict[str, msgspec.Raw | dict[str, msgspec.Raw] | str] = {**call.fields, "model": target.upstream_model}
        if call.stream:
            if target.accepts_stream_options and not target.base_url.startswith(_REFUSE_STREAM_OPTIONS):
                body["stream_options"] = _with_usage(call.fields.get("stream_options"))
            elif "stream_options" in body:
                _leave_usage_out(body, call.fields["stream_options"])
        headers = (_JSON, _ACCEPT_STREAM if call.stream else _ACCEPT_JSON, *_credentials(target))
        return HttpRequest("POST", _url(target, _PATHS[call.endpoint]), headers, _encode(body))

    def answer(self, call: ModelCall, target: Target, body: bytes) -> Answer:  # noqa: ARG002 (the port's shape)
        try:
            if call.endpoint == "chat.completions":
                completion = _completion_decoder.decode(body)
                reason = completion.choices[0].finish_reason if completion.choices else None
                return Answer(body=body, usage=token_usage(completion.usage), finish_reason=reason)
            return Answer(body=body, usage=token_usage(_embeddings_decoder.decode(body).usage))
        except msgspec.ValidationError:
            return _odd_answer(call.endpoint, body)
        except UNREADABLE as error:
            raise invalid_answer(200, "it is not JSON") from error

    def refusal(self, status: int, headers: Sequence[Header], body: bytes) -> ProviderRefusal:
        return read_refusal(status, headers, body, self._clock)

    def decoder(self, call: ModelCall, target: Target) -> StreamDecoder:  # noqa: ARG002 (the port's shape)
        n = call.fields.get("n")
        return OpenAIStreamDecoder() if n is None else OpenAIStreamDecoder(_choices(n))

    def models_request(self, target: Target) -> HttpRequest | None:
        return HttpRequest("GET", _url(target, "/models"), (_ACCEPT_JSON, *_credentials(target)), b"")


def _url(target: Target, path: str) -> str:
    return f"{target.base_url}{path}?{target.query}" if target.query else target.base_url + path


def _credentials(target: Target) -> tuple[Header, ...]:
    """The configured headers, and the bearer token unless they hold a credential of their own."""
    extra = target.headers
    if target.api_key is None or any(name in (b"authorization", b"api-key") for name, _ in extra):
        return extra
    return ((b"authorization", b"Bearer " + target.api_key.encode()), *extra)


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw | dict[str, msgspec.Raw]:
    """The client's ``stream_options``, other members kept, with usage asked for."""
    if options is None or options == _ABSENT:
        return _WITH_USAGE
    return {**_options_of(options), "include_usage": _TRUE}


def _options_of(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _options_decoder.decode(raw) or {}
    except UNREADABLE as error:
        raise UntranslatableRequest("'stream_options' must be an object.", param="stream_options") from error


def _choices(n: msgspec.Raw) -> int:
    try:
        return min(max(msgspec.json.decode(n, type=int), 1), _MAX_CHOICES)
    except UNREADABLE:
        return 1


def _leave_usage_out(body: dict[str, msgspec.Raw | dict[str, msgspec.Raw] | str], options: msgspec.Raw) -> None:
    """Drop ``include_usage``, which the gateway answers itself, and the options with it if nothing else is in them."""
    others = dict(_options_of(options))
    others.pop("include_usage", None)
    if others:
        body["stream_options"] = others
    else:
        del body["stream_options"]


def _odd_answer(endpoint: Endpoint, body: bytes) -> Answer:
    """Read what a strict reading refused: odd types inside are tolerated, another kind of answer is not."""
    try:
        parts = _parts_decoder.decode(body)
    except UNREADABLE as error:
        raise invalid_answer(200, "it is not a JSON object") from error
    essential = parts.choices if endpoint == "chat.completions" else parts.data
    if essential == _ABSENT:
        if parts.error != _ABSENT:
            raise refusal_of(decoded(body), 200)
        member = "choices" if endpoint == "chat.completions" else "data"
        raise invalid_answer(200, f"it has no '{member}'")
    reason: str | None = None
    if endpoint == "chat.completions":
        try:
            choices = _choices_decoder.decode(essential)
            reason = choices[0].finish_reason if choices else None
        except UNREADABLE:
            reason = None
    return Answer(body=body, usage=read_usage(parts.usage), finish_reason=reason)
