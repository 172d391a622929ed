"""Every kind of provider has one wire, under the name that configurations use."""

import msgspec
import pytest

from auterity.providers.catalogue import wires
from auterity.providers.contract import ModelCall, Target, Wire

TARGET = Target(
    base_url="https://x.example/v1", api_key="k", upstream_model="up", public_model="pub", max_output_tokens=10
)
FIELDS = {"model": msgspec.Raw(b'"pub"'), "messages": msgspec.Raw(b'[{"role":"user","content":"x"}]')}


def test_the_kinds_are_those_of_the_configuration() -> None:
    assert set(wires()) == {"openai_compatible", "anthropic", "sandbox"}
    assert all(name == wire.name for name, wire in wires().items())


@pytest.mark.parametrize("wire", wires().values(), ids=lambda wire: wire.name)
def test_every_wire_sends_the_upstream_models_name_and_asks_for_json_or_a_stream(wire: Wire) -> None:
    for stream, accept in ((False, b"application/json"), (True, b"text/event-stream")):
        call = ModelCall(endpoint="chat.completions", model="pub", fields=FIELDS, stream=stream)
        request = wire.request(call, TARGET)
        assert msgspec.json.decode(request.body)["model"] == "up"
        assert (b"accept", accept) in request.headers
        assert all(name == name.lower() for name, _ in request.headers)
        assert request.url.startswith(TARGET.base_url)
        assert "chat.completions" in wire.endpoints


@pytest.mark.parametrize("wire", wires().values(), ids=lambda wire: wire.name)
def test_every_decoder_begins_with_nothing(wire: Wire) -> None:
    decoder = wire.decoder(ModelCall(endpoint="chat.completions", model="pub", fields=FIELDS, stream=True), TARGET)
    decoder.end()
    assert not decoder.finished
    assert (decoder.usage, decoder.usage_chunk, decoder.opening, decoder.pending) == (None, None, None, b"")
    assert (decoder.content_events, decoder.content_bytes) == (0, 0)
