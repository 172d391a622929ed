"""Logs: one line a record, no secrets, and no waiting for who reads them."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.engines.telemetry import logs
from auterity.engines.telemetry.redaction import MASK, redact


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Stuck(io.StringIO):
    """A reader that does not read until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = threading.Event()
        self.tried = threading.Event()

    def write(self, text: str, /) -> int:
        self.tried.set()
        assert self.reads.wait(10)
        return super().write(text)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Put back what ``configure`` replaces for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    loggers = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio")]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    # basicConfig(force=True) closes what it replaces; pytest's own handlers must not be among them.
    root.handlers = []
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    for logger, kept, was, propagate in before:
        logger.handlers = kept
        logger.setLevel(was)
        logger.propagate = propagate


def told(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_json_object() -> None:
    stream = io.StringIO()
    output = logs.configure("info", "json", process="worker-1", stream=stream)
    logging.getLogger("auterity.test").info("served %d\ncalls", 3, extra={"model": "gpt", "tokens": {"in": [1, None]}})
    output.flush()
    [line] = told(stream)
    assert line.pop("ts").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "auterity.test",
        "process": "worker-1",
        "message": "served 3\ncalls",
        "model": "gpt",
        "tokens": {"in": [1, None]},
    }


def test_the_request_is_told_with_each_record() -> None:
    stream = io.StringIO()
    output = logs.configure("info", "json", stream=stream)
    token = logs.request_id.set("req_1")
    logging.getLogger("a").info("one")
    logging.getLogger("a").info("two", extra={"request_id": "req_2"})
    logs.request_id.reset(token)
    logging.getLogger("a").info("three")
    output.flush()
    assert [line.get("request_id") for line in told(stream)] == ["req_1", "req_2", None]


def test_an_error_is_told_with_its_stack_and_without_the_values_in_it() -> None:
    stream = io.StringIO()
    output = logs.configure("info", "json", stream=stream)

    def fail(prompt: str) -> None:
        raise ValueError(f"cannot use sk-{'x' * 20}, length {len(prompt)}")

    try:
        fail("the prompt's text")
    except ValueError:
        logging.getLogger("a").exception("it failed")
    output.flush()
    [line] = told(stream)
    assert line["error"]["type"] == "ValueError"
    assert line["error"]["message"] == f"cannot use sk-{MASK}, length 17"
    assert "in fail" in line["error"]["stack"]
    assert "xxxx" not in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "kept", "secret"),
    [
        ("key ak-0123456789abcdef refused", "refused", "0123456789abcdef"),
        ("sk-ant-api03-abc_DEF-123", "sk-", "api03"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer", "abc.def"),
        ("authorization: basic dXNlcjpwYXNz", "authorization", "dXNl"),
        ("postgresql+asyncpg://app:s3cr3t@db:5432/x", "@db:5432/x", "s3cr3t"),
        ("postgres://app:p@ss/w@db/x failed", "@db/x failed", "ss/w"),
        ("redis://:hunter2@cache:6379", "@cache:6379", "hunter2"),
        ("eyJhbGciOi.eyJzdWIiOiIx.c2ln", "", "eyJzdWI"),
        ('{"api_key": "abcdef"}', "api_key", "abcdef"),
        ("password=letmein&x=1", "&x=1", "letmein"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, kept: str, secret: str) -> None:
    stream = io.StringIO()
    output = logs.configure("info", "json", stream=stream)
    logging.getLogger("a").info("%s", text, extra={"field": text, "nested": {"list": [text]}, "thing": Exception(text)})
    output.flush()
    assert secret not in stream.getvalue()
    assert kept in told(stream)[0]["message"]
    assert MASK in told(stream)[0]["nested"]["list"][0]


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8080/v1", "task-force-generation", "tokens: 12", "a risk-free choice", "key_0123456789"]
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=200))
def test_no_text_can_write_a_second_line(text: str) -> None:
    for formatter in (logs._JsonLine(""), logs._TextLine("")):  # pyright: ignore[reportPrivateUsage]
        record = logging.LogRecord("a", logging.INFO, __file__, 1, "%s", (text,), None)
        record.field = text
        line = formatter.format(record)
        assert "\n" not in line
        assert "\r" not in line
        assert "\x1b" not in line


def test_people_get_text_and_machines_get_json() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        output = logs.configure("info", "auto", process="worker-1", stream=stream)
        logging.getLogger("a").warning("careful", extra={"model": "gpt"})
        output.flush()
    assert terminal.getvalue().rstrip().endswith("WARNING  [worker-1] a: careful model=gpt")
    assert told(pipe)[0]["message"] == "careful"


def test_uvicorns_and_asyncios_records_come_the_same_way() -> None:
    logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler(io.StringIO()))
    stream = io.StringIO()
    output = logs.configure("info", "json", stream=stream)
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("uvicorn.access").info("GET /")
    logging.getLogger("asyncio").warning("slow")
    output.flush()
    assert [line["logger"] for line in told(stream)] == ["uvicorn.error", "asyncio"]


def test_a_reader_that_stops_reading_holds_nobody_up_and_is_told_what_it_missed() -> None:
    stream = Stuck()
    output = logs.configure("info", "json", stream=stream)
    logger = logging.getLogger("a")
    logger.info("first")
    assert stream.tried.wait(5)
    started = time.perf_counter()
    for n in range(10_500):
        logger.info("%d", n)
    assert time.perf_counter() - started < 5
    stream.reads.set()
    output.flush()
    messages = [line["message"] for line in told(stream)]
    assert messages[:2] == ["first", "0"]
    assert len(messages) == 10_002
    assert messages[-1].startswith("500 log records were dropped")


def test_a_record_that_does_not_fit_stops_nothing_and_is_not_printed_elsewhere(
    capfd: pytest.CaptureFixture[str],
) -> None:
    stream = io.StringIO()
    output = logs.configure("info", "json", stream=stream)
    logging.getLogger("a").info("%d", "sk-notanumber")
    logging.getLogger("a").info("next")
    output.flush()
    first, second = told(stream)
    assert "does not fit" in first["message"]
    assert second["message"] == "next"
    assert capfd.readouterr().err == ""


def test_what_was_logged_last_is_written_before_the_process_ends() -> None:
    script = """
import logging
from auterity.engines.telemetry import logs
logs.configure("info", "json")
for n in range(1000):
    logging.getLogger("a").info("line %d", n)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, timeout=60, env=dict(os.environ)
    )
    assert len(ended.stderr.splitlines()) == 1000
