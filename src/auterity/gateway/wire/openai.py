"""OpenAI's shapes as clients speak them: requests checked, errors and model lists written.

Only what the gateway itself needs is checked; every other field belongs to the provider and passes untouched.
Shapes: OpenAI API reference, "Chat", "Embeddings", "Models" and "Error codes".
"""

import re
from collections.abc import Iterable
from typing import Annotated

import msgspec

from auterity.gateway.inbound import Inbound
from auterity.gateway.wire.tags import metadata_tags
from auterity.kit.errors import AuterityError, InvalidRequest
from auterity.platform.models.plan import ModelPlan
from auterity.providers.contract import Endpoint, ModelCall

__all__ = ["error_body", "error_event", "model_body", "models_body", "parse"]

_ABSENT = msgspec.Raw(b"null")
_ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class _Message(msgspec.Struct):
    role: str


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _ChatRequest(msgspec.Struct):
    model: _ModelName
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    user: str | None = None
    metadata: msgspec.Raw = _ABSENT


class _EmbeddingsRequest(msgspec.Struct):
    model: _ModelName
    input: str | Annotated[list[str | int | list[int]], msgspec.Meta(min_length=1)]
    user: str | None = None
    metadata: msgspec.Raw = _ABSENT


_chat = msgspec.json.Decoder(_ChatRequest)
_embeddings = msgspec.json.Decoder(_EmbeddingsRequest)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`")


def parse(endpoint: Endpoint, body: bytes) -> Inbound:
    """Check a request body.

    Raises:
        InvalidRequest: it is not JSON, or not of the endpoint's shape; ``param`` names the field.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not valid UTF-8 (byte {error.start}).") from error
    try:
        fields = _fields.decode(body)
        if endpoint == "embeddings":
            return _parsed_embeddings(_embeddings.decode(body), fields)
        return _parsed_chat(_chat.decode(body), fields)
    except msgspec.ValidationError as error:
        raise _invalid_field(str(error)) from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise InvalidRequest("The body is nested too deeply.") from error


def _parsed_chat(request: _ChatRequest, fields: dict[str, msgspec.Raw]) -> Inbound:
    options = request.stream_options
    if options is not None and not request.stream:
        raise InvalidRequest("'stream_options' is only allowed when 'stream' is true.", param="stream_options")
    limit = request.max_completion_tokens
    return Inbound(
        call=ModelCall(
            endpoint="chat.completions",
            model=request.model,
            fields=fields,
            stream=bool(request.stream),
            include_usage=options is not None and bool(options.include_usage),
        ),
        end_user=(request.user or "")[:256],
        tags=metadata_tags(request.metadata),
        max_output_tokens=request.max_tokens if limit is None else limit,
        choices=request.n or 1,
    )


def _parsed_embeddings(request: _EmbeddingsRequest, fields: dict[str, msgspec.Raw]) -> Inbound:
    return Inbound(
        call=ModelCall(endpoint="embeddings", model=request.model, fields=fields),
        end_user=(request.user or "")[:256],
        tags=metadata_tags(request.metadata),
        max_output_tokens=0,
        choices=1,
    )


def _invalid_field(message: str) -> InvalidRequest:
    missing = _MISSING.match(message)
    at = _AT.search(message)
    path = at["path"] if at else ""
    if missing:
        param = f"{path}.{missing['field']}" if path else missing["field"]
        return InvalidRequest(f"Missing required parameter: '{param}'.", param=param)
    if not path:
        return InvalidRequest("The body must be a JSON object.")
    return InvalidRequest(f"Invalid value for '{path}': {_AT.sub('', message).lower()}.", param=path)


_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}


def _error(error: AuterityError) -> dict[str, dict[str, str | None]]:
    kind = _TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def error_body(error: AuterityError) -> bytes:
    """The body of an answer that is an error."""
    return msgspec.json.encode(_error(error))


def error_event(error: AuterityError) -> bytes:
    """The event that ends a stream which broke."""
    return b"data: " + error_body(error) + b"\n\n"


def _model(plan: ModelPlan) -> dict[str, str | int | bool]:
    return {"id": plan.name, "object": "model", "created": plan.created, "owned_by": plan.owned_by, **plan.facts}


def model_body(plan: ModelPlan) -> bytes:
    """``GET /v1/models/{id}``."""
    return msgspec.json.encode(_model(plan))


def models_body(plans: Iterable[ModelPlan]) -> bytes:
    """``GET /v1/models``."""
    return msgspec.json.encode({"object": "list", "data": [_model(plan) for plan in plans]})
