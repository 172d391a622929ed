"""The sandbox answers like OpenAI's API, says what it is, and fails on command."""

import base64
import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from auterity.kit.clock import ManualClock
from auterity.providers.sandbox import SANDBOX_MODELS, SandboxService, SandboxSettings
from auterity.providers.sandbox.replies import Ending, Reply
from auterity.providers.sandbox.tokens import count_tokens, split_tokens

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SERVICE = SandboxService(SandboxSettings(), ManualClock(NOW))
ASK = {"model": "sandbox-small", "messages": [{"role": "user", "content": "Hello"}]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["celsius", "kelvin"]},
                "days": {"type": "integer", "minimum": 1},
            },
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time"}}


def post(body: object, path: str = "/v1/chat/completions", service: SandboxService = SERVICE) -> Reply:
    return service.respond("POST", path, [(b"authorization", b"Bearer x")], msgspec.json.encode(body))


def answer(**fields: object) -> Any:
    reply = post(ASK | fields)
    assert reply.status == 200, reply
    assert (b"content-type", b"application/json") in reply.headers
    return msgspec.json.decode(b"".join(step.data for step in reply.steps))


def stream(**fields: object) -> list[Any]:
    reply = post(ASK | fields | {"stream": True})
    frames = [step.data for step in reply.steps]
    assert frames.pop() == b"data: [DONE]\n\n"
    return [msgspec.json.decode(frame[6:]) for frame in frames]


def error(reply: Reply) -> dict[str, Any]:
    return msgspec.json.decode(reply.steps[0].data)["error"]


def text(body: Any, index: int = 0) -> str:
    return body["choices"][index]["message"]["content"]


def test_every_answer_says_that_no_model_was_called() -> None:
    for name, model in SANDBOX_MODELS.items():
        if model.kind != "embedding":
            assert text(answer(model=name)).startswith("This is Auterity's sandbox: no model was called.")


def test_the_same_request_gets_the_same_answer() -> None:
    assert answer() == answer()
    assert answer() == answer(user="someone", metadata={"team": "a"})
    assert text(answer()) != text(answer(messages=[{"role": "user", "content": "Hello!"}]))


def test_a_stream_says_what_the_plain_answer_says() -> None:
    plain, chunks = answer(), stream(stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == plain["usage"]
    spoken = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])
    assert spoken == text(plain)
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert {chunk["id"] for chunk in chunks} == {plain["id"]}
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_a_stream_tells_usage_only_where_asked() -> None:
    assert all("usage" not in chunk for chunk in stream())


def test_tokens_are_counted_by_the_documented_tokeniser() -> None:
    body = answer()
    assert body["usage"]["completion_tokens"] == count_tokens(text(body))
    assert body["usage"]["prompt_tokens"] == count_tokens("Hello") + 3 + 3
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert "".join(split_tokens("Ünïcode, too: 12345678 \n\t!")) == "Ünïcode, too: 12345678 \n\t!"


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_cuts_the_answer(field: str) -> None:
    body = answer(**{field: 5})
    assert body["usage"]["completion_tokens"] == 5
    assert body["choices"][0]["finish_reason"] == "length"


def test_reasoning_is_counted_within_the_output_and_its_limit() -> None:
    usage = answer(model="sandbox-reasoning")["usage"]
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    assert 0 < reasoning < usage["completion_tokens"]
    assert (
        answer(model="sandbox-reasoning", reasoning_effort="none")["usage"]["completion_tokens_details"][
            "reasoning_tokens"
        ]
        == 0
    )
    cut = answer(model="sandbox-reasoning", max_completion_tokens=3)
    assert (text(cut), cut["usage"]["completion_tokens"], cut["choices"][0]["finish_reason"]) == ("", 3, "length")


def test_alternatives_differ_and_are_all_billed() -> None:
    body = answer(n=3)
    texts = [text(body, index) for index in range(3)]
    assert len(set(texts)) == 3
    assert body["usage"]["completion_tokens"] == sum(map(count_tokens, texts))
    assert {chunk["choices"][0]["index"] for chunk in stream(n=2)} == {0, 1}


def test_a_stop_sequence_ends_the_text_before_it() -> None:
    assert text(answer(stop=["zzz", "sandbox"])) == "This is Auterity's "
    assert answer(stop="sandbox")["choices"][0]["finish_reason"] == "stop"


def test_the_tool_that_is_demanded_is_called() -> None:
    choice = answer(tools=[WEATHER, TIME], tool_choice="required")["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert msgspec.json.decode(call["function"]["arguments"]) == {"city": "sandbox", "unit": "celsius", "days": 1}
    named = answer(tools=[WEATHER, TIME], tool_choice={"type": "function", "function": {"name": "get_time"}})
    assert named["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_time"


def test_a_tool_is_not_called_unless_demanded() -> None:
    assert "tool_calls" not in answer(tools=[WEATHER])["choices"][0]["message"]
    assert "tool_calls" in answer(tools=[WEATHER], metadata={"sandbox_fault": "tool"})["choices"][0]["message"]


def test_tool_calls_are_streamed_in_pieces() -> None:
    deltas = [chunk["choices"][0]["delta"] for chunk in stream(tools=[WEATHER], tool_choice="required")]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["function"]["name"] == "get_weather"
    arguments = "".join(call["function"]["arguments"] for call in calls)
    assert msgspec.json.decode(arguments)["city"] == "sandbox"


def test_json_is_answered_where_json_is_wanted() -> None:
    body = msgspec.json.decode(text(answer(response_format={"type": "json_object"})))
    assert "sandbox" in body["notice"]
    schema = {
        "type": "object",
        "properties": {"steps": {"type": "array", "items": {"$ref": "#/$defs/step"}}, "sure": {"type": "boolean"}},
        "$defs": {"step": {"type": "object", "properties": {"text": {"type": ["string", "null"]}}}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    fitting = msgspec.json.decode(text(answer(response_format=form)))
    assert fitting == {"steps": [{"text": "This is Auterity's sandbox: no model was called."}], "sure": False}


def test_embeddings_are_unit_vectors_that_depend_on_the_text() -> None:
    def embed(**fields: object) -> Any:
        reply = post({"model": "sandbox-embed", "input": ["a", "b", "a"]} | fields, "/v1/embeddings")
        return msgspec.json.decode(reply.steps[0].data)

    body = embed()
    one, two, three = (each["embedding"] for each in body["data"])
    assert len(one) == SANDBOX_MODELS["sandbox-embed"].dimensions
    assert math.isclose(math.fsum(x * x for x in one), 1.0)
    assert one == three != two
    assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    short = embed(dimensions=8, encoding_format="base64", input="a")["data"][0]["embedding"]
    assert math.isclose(sum(x * x for x in struct.unpack("<8f", base64.b64decode(short))), 1.0, rel_tol=1e-6)
    assert embed(input=[1, 2, 3])["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        (ASK | {"model": "gpt-4o"}, 404, "model", "model_not_found"),
        (ASK | {"model": "sandbox-embed"}, 400, "model", "model_not_supported"),
        (ASK | {"messages": []}, 400, "messages", None),
        (ASK | {"messages": "hello"}, 400, None, None),
        (ASK | {"messages": [{"role": "wizard", "content": "x"}]}, 400, None, None),
        (ASK | {"max_tokens": 0}, 400, "max_tokens", "integer_out_of_range"),
        (ASK | {"max_tokens": 10**9}, 400, "max_tokens", "integer_out_of_range"),
        (ASK | {"n": 0.5}, 400, None, None),
        (ASK | {"tool_choice": "required"}, 400, "tool_choice", None),
        (
            ASK | {"messages": [{"role": "user", "content": "word " * 200_000}]},
            400,
            "messages",
            "context_length_exceeded",
        ),
        (ASK | {"metadata": {"sandbox_fault": "explode"}}, 400, "metadata.sandbox_fault", "unknown_sandbox_fault"),
        (ASK | {"metadata": {"sandbox_fault": "status:200"}}, 400, "metadata.sandbox_fault", "unknown_sandbox_fault"),
    ],
)
def test_bad_requests_get_openais_errors(body: object, status: int, param: str | None, code: str | None) -> None:
    reply = post(body)
    assert reply.status == status
    assert (error(reply)["param"], error(reply)["code"]) == (param, code)


def test_what_is_not_json_is_refused() -> None:
    for body in (b"", b"{", b"[" * 100_000, b'{"model":"\xff"}'):
        assert SERVICE.respond("POST", "/v1/chat/completions", [], body).status == 400


def test_models_are_listed_as_a_sandbox() -> None:
    reply = SERVICE.respond("GET", "/v1/models", [], b"")
    models = msgspec.json.decode(reply.steps[0].data)["data"]
    assert [model["id"] for model in models] == list(SANDBOX_MODELS)
    assert {model["owned_by"] for model in models} == {"auterity-sandbox"}


def fault(command: str, **fields: object) -> Reply:
    return post(ASK | {"metadata": {"sandbox_fault": command}} | fields)


def test_faults_can_be_asked_for_in_the_text() -> None:
    said = [{"role": "user", "content": [{"type": "text", "text": "Hi [[sandbox status=503, latency=2]]"}]}]
    reply = post(ASK | {"messages": said})
    assert (reply.status, reply.pause_s) == (503, 2)
    assert error(reply)["type"] == "server_error"


def test_a_rate_limit_says_when_to_come_again() -> None:
    reply = fault("rate_limit:7")
    assert reply.status == 429
    assert (b"retry-after", b"7") in reply.headers
    assert error(reply)["code"] == "rate_limit_exceeded"


def test_a_stream_dies_errs_or_falls_silent_after_so_many_chunks() -> None:
    died, silent = fault("die_after:5", stream=True), fault("hang_after:5", stream=True)
    assert (len(died.steps), died.ending) == (5, Ending.BROKEN)
    assert (len(silent.steps), silent.ending) == (5, Ending.SILENT)
    erred = fault("error_after:5", stream=True)
    assert (len(erred.steps), erred.ending) == (6, Ending.COMPLETE)
    assert msgspec.json.decode(erred.steps[-1].data[6:])["error"]["code"] == "sandbox_fault"


def test_a_plain_answer_breaks_in_its_middle() -> None:
    reply = fault("die_after:0")
    assert reply.ending is Ending.BROKEN
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(reply.steps[0].data)


def test_the_other_faults_do_what_they_say() -> None:
    assert fault("hang").headless
    assert fault("hang").ending is Ending.SILENT
    assert fault("refuse").headless
    assert fault("refuse").ending is Ending.BROKEN
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(fault("malformed").steps[0].data)
    assert "usage" not in msgspec.json.decode(fault("no_usage").steps[0].data)
    long = msgspec.json.decode(fault("tokens:200").steps[0].data)
    assert long["usage"]["completion_tokens"] == 200
    paced = fault("pace:0.5 latency:3", stream=True)
    assert paced.pause_s == 3
    assert {step.pause_s for step in paced.steps[1:]} == {0.5}


def test_latency_is_that_of_the_model_and_the_same_each_time() -> None:
    reply = post(ASK | {"stream": True})
    model = SANDBOX_MODELS["sandbox-small"]
    assert 0.7 * model.first_token_s <= reply.pause_s <= 1.3 * model.first_token_s
    assert all(0.7 * model.per_token_s <= step.pause_s <= 1.3 * model.per_token_s for step in reply.steps[1:])
    assert reply == post(ASK | {"stream": True})
    at_once = SandboxService(SandboxSettings(latency_scale=0))
    assert post(ASK, service=at_once).pause_s == 0


def test_the_limit_of_a_minute_is_kept_for_each_key_and_model() -> None:
    clock = ManualClock(NOW)
    service = SandboxService(SandboxSettings(requests_per_minute=2), clock)
    replies = [post(ASK, service=service) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert (b"x-ratelimit-remaining-requests", b"1") in replies[0].headers
    assert (b"retry-after", b"60") in replies[2].headers
    assert post(ASK | {"model": "sandbox-large"}, service=service).status == 200
    clock.advance(timedelta(seconds=61))
    assert post(ASK, service=service).status == 200
