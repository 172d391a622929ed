"""The sandbox's API: a request in, an answer in time out. No I/O; transport and server bring it into the world."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TypeVar

import msgspec

from auterity.engines.http.port import Header
from auterity.kit.clock import Clock, SystemClock
from auterity.providers.contract import Endpoint
from auterity.providers.sandbox.chat import complete, completion_body, completion_frames
from auterity.providers.sandbox.embeddings import embeddings_body
from auterity.providers.sandbox.faults import FAULT_KEY, Faults, UnknownFault, read_faults
from auterity.providers.sandbox.models import SANDBOX_MODELS, SandboxModel
from auterity.providers.sandbox.replies import Ending, Reply, Step, error_reply, json_reply
from auterity.providers.sandbox.requests import ChatRequest, EmbeddingsRequest, RequestError, error_body
from auterity.providers.untyped import UNREADABLE

__all__ = ["SandboxService", "SandboxSettings"]

_MALFORMED = b'{"id":"chatcmpl-sandbox","choices":[{"index":0,'
_EVENT_STREAM: Header = (b"content-type", b"text/event-stream; charset=utf-8")
_NOT_PART_OF_THE_QUESTION = frozenset({"stream", "stream_options", "user", "metadata"})
_MAX_CALLERS = 10_000

Shape = TypeVar("Shape")

_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_chat_decoder = msgspec.json.Decoder(ChatRequest)
_embeddings_decoder = msgspec.json.Decoder(EmbeddingsRequest)


class SandboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the sandbox behaves without being asked."""

    latency_scale: float = 1.0
    """Times the models' typical latency; 0 answers at once."""
    requests_per_minute: int | None = None
    """A limit for each key and model; None: unlimited."""


class SandboxService:
    """Answers as OpenAI's API would."""

    def __init__(self, settings: SandboxSettings | None = None, clock: Clock | None = None) -> None:
        self._settings = settings or SandboxSettings()
        self._clock = clock or SystemClock()
        self._windows: dict[tuple[bytes, str], tuple[int, int]] = {}
        """Start (nanoseconds) and count of each caller's present minute."""
        self._routes: Mapping[tuple[str, str], Callable[[Sequence[Header], bytes], Reply]] = {
            ("POST", "/chat/completions"): self._chat,
            ("POST", "/embeddings"): self._embeddings,
            ("GET", "/models"): self._models,
        }

    def respond(self, method: str, path: str, headers: Sequence[Header], body: bytes) -> Reply:
        """Answer one request; ``path`` may have any prefix, such as ``/v1``."""
        for (verb, suffix), answer in self._routes.items():
            if path.endswith(suffix):
                if verb != method:
                    return error_reply(RequestError(405, f"Not allowed to {method} on {path}."))
                try:
                    return answer(headers, body)
                except RequestError as error:
                    return error_reply(error)
        return error_reply(RequestError(404, f"Invalid URL ({method} {path})"))

    def _models(self, headers: Sequence[Header], body: bytes) -> Reply:  # noqa: ARG002 (one shape for all routes)
        models = [
            {"id": model.name, "object": "model", "created": 1_767_225_600, "owned_by": "auterity-sandbox"}
            for model in SANDBOX_MODELS.values()
        ]
        return json_reply(msgspec.json.encode({"object": "list", "data": models}))

    def _chat(self, headers: Sequence[Header], body: bytes) -> Reply:
        request = _decode(_chat_decoder, body)
        model = _model(request.model, "chat.completions")
        faults = _faults(request.metadata, request.messages[-1].text if request.messages else "")
        limits = self._take(headers, model)
        seed = _seed(body)
        failure = self._failure(faults, model, seed)
        if failure is not None:
            return failure
        completion = complete(request, model, faults, seed, self._clock.epoch_us() // 1_000_000)
        pace = _Pace(model, faults, self._settings.latency_scale, seed)
        first = pace.first() + pace.tokens(completion.reasoning_tokens)
        if not request.stream:
            spoken = completion.completion_tokens - completion.reasoning_tokens
            plain = completion_body(completion, faults)
            return _broken_where_asked(json_reply(plain, pause_s=first + pace.tokens(spoken), headers=limits), faults)
        options = request.stream_options
        frames = completion_frames(completion, faults, include_usage=options is not None and options.include_usage)
        steps = [Step(pace.token() if index else 0.0, frame) for index, frame in enumerate(frames)]
        return _stream(steps, faults, first, limits)

    def _embeddings(self, headers: Sequence[Header], body: bytes) -> Reply:
        request = _decode(_embeddings_decoder, body)
        model = _model(request.model, "embeddings")
        faults = _faults(request.metadata, request.input if isinstance(request.input, str) else "")
        limits = self._take(headers, model)
        seed = _seed(body)
        failure = self._failure(faults, model, seed)
        if failure is not None:
            return failure
        first = _Pace(model, faults, self._settings.latency_scale, seed).first()
        plain = json_reply(embeddings_body(request, model), pause_s=first, headers=limits)
        return _broken_where_asked(plain, faults)

    def _failure(self, faults: Faults, model: SandboxModel, seed: int) -> Reply | None:
        """The answer that comes instead of one, where a fault wants that."""
        if faults.refuse:
            return Reply(headless=True, ending=Ending.BROKEN)
        if faults.hang:
            return Reply(headless=True, ending=Ending.SILENT)
        pause = faults.latency or 0.0
        if faults.rate_limit is not None:
            return error_reply(_rate_limited(model, faults.rate_limit), pause_s=pause)
        if faults.status is not None:
            message = f"This is Auterity's sandbox: status {faults.status} was asked for."
            return error_reply(RequestError(faults.status, message, code="sandbox_fault"), pause_s=pause)
        if faults.malformed:
            return json_reply(_MALFORMED, pause_s=_Pace(model, faults, self._settings.latency_scale, seed).first())
        return None

    def _take(self, headers: Sequence[Header], model: SandboxModel) -> tuple[Header, ...]:
        """Count the request; return the headers that tell the limit.

        Raises:
            RequestError: too many in this minute.
        """
        limit = self._settings.requests_per_minute
        if limit is None:
            return ()
        caller = (next((value for name, value in headers if name == b"authorization"), b""), model.name)
        now = self._clock.monotonic_ns()
        start, count = self._windows.pop(caller, (now, 0))
        if now - start >= 60_000_000_000:
            start, count = now, 0
        if len(self._windows) >= _MAX_CALLERS:
            del self._windows[next(iter(self._windows))]
        self._windows[caller] = (start, min(count + 1, limit))
        left_s = 60 - (now - start) / 1e9
        if count >= limit:
            raise _rate_limited(model, round(left_s, 3))
        return (
            (b"x-ratelimit-limit-requests", str(limit).encode()),
            (b"x-ratelimit-remaining-requests", str(limit - count - 1).encode()),
            (b"x-ratelimit-reset-requests", f"{left_s:.3f}s".encode()),
        )


class _Pace:
    """The pauses of one answer: the model's typical ones, up to 30 % more or less, the same for the same request."""

    def __init__(self, model: SandboxModel, faults: Faults, scale: float, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 (chosen to be repeatable, guards nothing)
        self._first = model.first_token_s * scale
        self._token = model.per_token_s * scale if faults.pace is None else faults.pace
        self._fixed_first = faults.latency
        self._fixed_token = faults.pace is not None

    def first(self) -> float:
        return self._first * self._jitter() if self._fixed_first is None else self._fixed_first

    def token(self) -> float:
        return self._token if self._fixed_token else self._token * self._jitter()

    def tokens(self, count: int) -> float:
        return self._token * count

    def _jitter(self) -> float:
        return self._random.uniform(0.7, 1.3)


def _decode(decoder: "msgspec.json.Decoder[Shape]", body: bytes) -> Shape:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RequestError(400, f"Invalid request: {error}.") from error
    except UNREADABLE as error:
        raise RequestError(400, "We could not parse the JSON body of your request.") from error


def _model(name: str, endpoint: Endpoint) -> SandboxModel:
    model = SANDBOX_MODELS.get(name)
    if model is None:
        message = f"The model `{name}` does not exist; the sandbox has {', '.join(SANDBOX_MODELS)}."
        raise RequestError(404, message, param="model", code="model_not_found")
    if model.endpoint != endpoint:
        raise RequestError(400, f"`{name}` is not a model for {endpoint}.", param="model", code="model_not_supported")
    return model


def _faults(metadata: Mapping[str, object] | None, text: str) -> Faults:
    setting = (metadata or {}).get(FAULT_KEY, "")
    try:
        return read_faults(setting if isinstance(setting, str) else str(setting), text)
    except UnknownFault as error:
        raise RequestError(400, str(error), param=f"metadata.{FAULT_KEY}", code="unknown_sandbox_fault") from error


def _seed(body: bytes) -> int:
    """The same for the same question, however it is asked (streamed or not, by whom, in which order of members)."""
    question = {
        name: value
        for name, value in sorted(_fields_decoder.decode(body).items())
        if name not in _NOT_PART_OF_THE_QUESTION
    }
    return int.from_bytes(hashlib.blake2b(msgspec.json.encode(question), digest_size=8).digest())


def _rate_limited(model: SandboxModel, seconds: float) -> RequestError:
    message = f"Rate limit reached for {model.name}. Please try again in {seconds:g}s."
    return RequestError(429, message, code="rate_limit_exceeded", retry_after=seconds)


def _broken_where_asked(reply: Reply, faults: Faults) -> Reply:
    """A plain answer, ended in its middle where a fault wants that."""
    if faults.die_after is None and faults.hang_after is None:
        return reply
    whole = reply.steps[0].data
    ending = Ending.BROKEN if faults.die_after is not None else Ending.SILENT
    return msgspec.structs.replace(reply, steps=(Step(0.0, whole[: len(whole) // 2]),), ending=ending)


def _stream(steps: list[Step], faults: Faults, first: float, headers: tuple[Header, ...]) -> Reply:
    ending = Ending.COMPLETE
    if faults.die_after is not None:
        steps, ending = steps[: faults.die_after], Ending.BROKEN
    elif faults.hang_after is not None:
        steps, ending = steps[: faults.hang_after], Ending.SILENT
    elif faults.error_after is not None:
        event = b"data: " + error_body(500, "This is Auterity's sandbox: an error was asked for.", "sandbox_fault")
        steps = [*steps[: faults.error_after], Step(0.0, event + b"\n\n")]
    return Reply(headers=(_EVENT_STREAM, *headers), pause_s=first, steps=tuple(steps), ending=ending)
