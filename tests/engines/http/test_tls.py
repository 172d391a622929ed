"""HTTPS: verified by default, with the server's name and HTTP/1.1 negotiated."""

import asyncio
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from auterity.engines.http.pool import HttpPool
from auterity.engines.http.port import FailureKind, HttpRequest, Timeouts, TransportError
from auterity.engines.http.tls import client_context

Serve = Callable[..., Awaitable[str]]
MakePool = Callable[..., HttpPool]
Until = Callable[[Callable[[], object]], Awaitable[None]]

TIMEOUTS = Timeouts(connect=5, first_byte=10, between_bytes=10, total=60)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for ``localhost`` and ``::1``, and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback provider")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("::1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def names() -> list[str | None]:
    """The server names that clients asked for."""
    return []


@pytest.fixture
def server_context(certificate: Path, names: list[str | None]) -> ssl.SSLContext:
    def seen(_: ssl.SSLObject | ssl.SSLSocket, name: str | None, __: ssl.SSLContext) -> None:
        names.append(name)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = seen
    return context


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with the negotiated protocol, or with as many bytes as the request had."""
    tls = writer.get_extra_info("ssl_object")
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        body = await reader.readexactly(length) or str(tls.selected_alpn_protocol()).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


async def test_a_trusted_provider_is_called_by_its_name_over_http_1(
    serve: Serve, make_pool: MakePool, server_context: ssl.SSLContext, certificate: Path, names: list[str | None]
) -> None:
    url = (await serve(_echo, tls=server_context)).replace("127.0.0.1", "localhost")
    pool = make_pool(ssl_context=client_context(authorities=certificate))
    for _ in range(2):
        response = await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)
        assert await response.read(100) == b"http/1.1"
    assert (names, pool.counts[url].open) == (["localhost"], 1)


async def test_an_address_is_verified_too(
    serve: Serve, make_pool: MakePool, server_context: ssl.SSLContext, certificate: Path
) -> None:
    url = await serve(_echo, tls=server_context, host="::1")
    pool = make_pool(ssl_context=client_context(authorities=certificate))
    assert (await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)).status == 200


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_certificate_that_does_not_hold_is_no_connection(
    serve: Serve, make_pool: MakePool, server_context: ssl.SSLContext, certificate: Path, *, trusted: bool
) -> None:
    url = await serve(_echo, tls=server_context)
    if trusted:
        # Right authority, wrong name: the certificate is not for 127.0.0.1.
        pool = make_pool(ssl_context=client_context(authorities=certificate))
    else:
        pool = make_pool()
        url = url.replace("127.0.0.1", "localhost")
    with pytest.raises(TransportError, match="certificate") as refused:
        await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)
    assert refused.value.kind is FailureKind.CONNECT
    assert pool.counts[url].open == 0


async def test_megabytes_go_both_ways(
    serve: Serve, make_pool: MakePool, server_context: ssl.SSLContext, certificate: Path
) -> None:
    url = (await serve(_echo, tls=server_context)).replace("127.0.0.1", "localhost")
    pool = make_pool(ssl_context=client_context(authorities=certificate))
    body = bytes(range(256)) * 40_000
    response = await pool.send(HttpRequest("POST", url, (), body), TIMEOUTS)
    assert await response.read(len(body)) == body
    response = await pool.send(HttpRequest("POST", url, (), body), TIMEOUTS)
    streamed = bytearray()
    while chunk := await response.chunk():
        streamed += chunk
    assert streamed == body
    assert pool.counts[url].open == 1


async def test_a_server_without_tls_is_no_connection(serve: Serve, make_pool: MakePool) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    url = (await serve(handler)).replace("http:", "https:")
    with pytest.raises(TransportError, match="handshake") as refused:
        await make_pool().send(HttpRequest("GET", url, (), b""), TIMEOUTS)
    assert refused.value.kind is FailureKind.CONNECT


async def test_a_cancelled_stream_leaves_no_connection_behind(
    serve: Serve,
    make_pool: MakePool,
    server_context: ssl.SSLContext,
    certificate: Path,
    until: Until,
) -> None:
    ended = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")
        try:
            await reader.read()
        finally:
            ended.set()

    url = (await serve(handler, tls=server_context)).replace("127.0.0.1", "localhost")
    pool = make_pool(ssl_context=client_context(authorities=certificate))
    response = await pool.send(HttpRequest("GET", url, (), b""), TIMEOUTS)
    reading = asyncio.create_task(response.read(1000))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.wait_for(ended.wait(), 5)
    await until(lambda: not pool.counts[url].open)
