"""The head of a request: written once, checked before anything is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.engines.http.origin import RefusedRequest, request_head
from auterity.engines.http.port import FailureKind


def test_a_head_has_the_target_the_host_and_the_callers_headers_in_order() -> None:
    origin, with_body, without = request_head(
        "POST", "https://api.example.com/v1/chat?api-version=1#part", ((b"b", b"2"), (b"a", b"1"))
    )
    assert (origin.tls, origin.host, origin.port, origin.label) == (
        True,
        "api.example.com",
        443,
        "https://api.example.com",
    )
    lines = (
        b"POST /v1/chat?api-version=1 HTTP/1.1\r\nhost: api.example.com\r\nb: 2\r\na: 1\r\naccept-encoding: identity"
    )
    assert with_body == lines + b"\r\ncontent-length: "
    assert without == lines + b"\r\ncontent-length: 0\r\n\r\n"


def test_a_method_without_body_sends_no_length() -> None:
    assert b"content-length" not in request_head("GET", "http://h/", ())[2]


def test_the_requests_own_accept_encoding_is_kept() -> None:
    _, head, _ = request_head("GET", "http://h", ((b"accept-encoding", b"gzip"),))
    assert head.count(b"accept-encoding") == 1
    assert b"GET / HTTP/1.1" in head


@pytest.mark.parametrize(
    ("url", "host", "port", "header", "label"),
    [
        ("http://[::1]:8000/v1", "::1", 8000, b"host: [::1]:8000", "http://[::1]:8000"),
        ("http://[::1]/v1", "::1", 80, b"host: [::1]\r\n", "http://[::1]"),
        ("https://h:443/", "h", 443, b"host: h\r\n", "https://h"),
        ("https://h:80/", "h", 80, b"host: h:80\r\n", "https://h:80"),
        ("http://EXAMPLE.com", "example.com", 80, b"host: example.com\r\n", "http://example.com"),
        ("http://10.0.0.1:81?x=1", "10.0.0.1", 81, b"GET /?x=1 ", "http://10.0.0.1:81"),
    ],
)
def test_urls_are_read(url: str, host: str, port: int, header: bytes, label: str) -> None:
    origin, head, _ = request_head("GET", url, ())
    assert (origin.host, origin.port, origin.label) == (host, port, label)
    assert header in head


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/v1",
        "ftp://h/",
        "http://",
        "http://h:0/",
        "http://h:99999/",
        "http://h:x/",
        "http://user:secret@h/",
        "http://h/a b",
        "http://h/\r\nx: 1",
        "http://h\x00/",
        "http://bücher.example/",
        "http://h/\x7f",
        "http://[::1/",
        "http://[v1.x]/",
        "http://a<b/",
    ],
)
def test_an_unsafe_or_unclear_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(RefusedRequest) as refused:
        request_head("GET", url, ())
    assert refused.value.kind is FailureKind.CONNECT
    assert "secret" not in refused.value.message


@given(st.binary(max_size=20), st.sampled_from([b"\r", b"\n", b"\0", b"\r\n"]), st.binary(max_size=20))
def test_a_line_break_or_nul_in_a_header_is_always_refused(before: bytes, bad: bytes, after: bytes) -> None:
    with pytest.raises(RefusedRequest) as refused:
        request_head("GET", "http://h/", ((b"x", before + bad + after),))
    assert refused.value.kind is FailureKind.CONNECT
    with pytest.raises(RefusedRequest):
        request_head("GET", "http://h/", ((before + bad + after, b"x"),))


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"\xc3\xa9", b"a\tb"])
def test_a_header_name_that_is_no_token_is_refused(name: bytes) -> None:
    with pytest.raises(RefusedRequest):
        request_head("GET", "http://h/", ((name, b"x"),))


@pytest.mark.parametrize("name", [b"host", b"Content-Length", b"TRANSFER-ENCODING", b"connection", b"expect"])
def test_headers_that_frame_the_message_belong_to_the_transport(name: bytes) -> None:
    with pytest.raises(RefusedRequest, match="written by the transport"):
        request_head("POST", "http://h/", ((name, b"1"),))


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\n", "CONNECT"])
def test_a_method_that_is_no_token_is_refused(method: str) -> None:
    with pytest.raises(RefusedRequest):
        request_head(method, "http://h/", ())


def test_a_secret_in_a_refused_header_is_not_shown() -> None:
    with pytest.raises(RefusedRequest) as refused:
        request_head("GET", "http://h/", ((b"authorization", b"Bearer sk-secret\n"),))
    assert "sk-secret" not in str(refused.value)
    assert "authorization" in str(refused.value)
