"""Requests as the sandbox reads them, and the errors it answers with, both in OpenAI's shapes."""

from typing import Literal

import msgspec

from auterity.providers.untyped import as_object

__all__ = [
    "ChatRequest",
    "EmbeddingsRequest",
    "Message",
    "RequestError",
    "TokenIds",
    "Tool",
    "error_body",
]

TokenIds = list[int]


class Part(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str = ""


class Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"")

    @property
    def text(self) -> str:
        """The text of all parts."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content or ())

    @property
    def images(self) -> int:
        """How many parts are not text."""
        return sum(part.type != "text" for part in self.content) if isinstance(self.content, list) else 0


class Function(msgspec.Struct):
    name: str
    description: str = ""
    parameters: dict[str, object] | None = None


class Tool(msgspec.Struct):
    function: Function
    type: str = "function"


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatRequest(msgspec.Struct):
    """The members that the sandbox heeds; it takes all others and leaves them alone."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, object] | None = None
    response_format: dict[str, object] | None = None
    reasoning_effort: str | None = None
    metadata: dict[str, object] | None = None

    @property
    def chosen_tool(self) -> str | None:
        """The function that ``tool_choice`` names."""
        if not isinstance(self.tool_choice, dict):
            return None
        name = (as_object(self.tool_choice.get("function")) or self.tool_choice).get("name")
        return name if isinstance(name, str) else None


class EmbeddingsRequest(msgspec.Struct):
    model: str
    input: str | list[str | int | TokenIds]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    metadata: dict[str, object] | None = None


class RequestError(Exception):
    """The sandbox answers with an error status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after


_TYPES = {401: "authentication_error", 403: "permission_error", 429: "requests"}


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> bytes:
    """An error in OpenAI's shape."""
    kind = _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})
