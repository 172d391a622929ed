"""Server-sent events come out the same however the bytes were cut."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from auterity.kit.sse import FrameCutter, FrameTooLarge, ServerSentEvent, read_events


def events(*pieces: bytes, max_frame: int = 1 << 20) -> list[ServerSentEvent]:
    cutter = FrameCutter(max_frame)
    return [event for piece in pieces for _, event in read_events(cutter.feed(piece)) if event is not None]


def data(*pieces: bytes) -> list[bytes]:
    return [event.data for event in events(*pieces)]


line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
lines = st.one_of(
    st.sampled_from([b"", b"", b"data: {}", b"data", b"data:", b":comment", b"event: error", b"id: 7", b"retry: 10"]),
    st.binary(max_size=8).map(lambda raw: b"data: " + raw.replace(b"\r", b"").replace(b"\n", b"")),
)
streams = st.lists(st.tuples(lines, line_ends).map(b"".join), max_size=20).map(b"".join)


@given(st.booleans(), streams, st.data())
@example(False, b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", None)
def test_every_chunking_of_a_stream_gives_the_same_events(bom: bool, stream: bytes, draw: st.DataObject | None) -> None:
    stream = b"\xef\xbb\xbf" + stream if bom else stream
    whole = events(stream)
    assert events(*(stream[i : i + 1] for i in range(len(stream)))) == whole
    if draw is not None and stream:
        cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert events(*pieces) == whole


@given(streams)
def test_events_agree_with_a_line_by_line_reading_of_the_standard(stream: bytes) -> None:
    expected: list[ServerSentEvent] = []
    buffer: list[bytes] = []
    name, identifier = b"", None
    for line in stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]:
        if line == b"":
            if buffer:
                expected.append(ServerSentEvent(b"\n".join(buffer), name or b"message", identifier))
            buffer, name, identifier = [], b"", None
            continue
        field, colon, value = line.partition(b":")
        value = value[1:] if colon and value[:1] == b" " else value
        if field == b"data":
            buffer.append(value)
        elif field == b"event":
            name = value
        elif field == b"id" and b"\0" not in value:
            identifier = value
    assert events(stream) == expected


def test_whole_frames_are_handed_on_as_they_came() -> None:
    cutter = FrameCutter()
    stream = b'data: {"a":1}\n\n: ping\n\nevent: x\ndata: 2\n\n'
    assert cutter.feed(stream) == stream
    assert cutter.feed(b"data: 3\n") == b""
    assert cutter.tail == b"data: 3\n"
    assert cutter.feed(b"\ndata: 4\n\nda") == b"data: 3\n\ndata: 4\n\n"
    assert cutter.tail == b"da"


def test_several_data_lines_are_joined() -> None:
    assert data(b"data: one\ndata:two\ndata\n\n") == [b"one\ntwo\n"]


def test_names_ids_and_comments_are_understood() -> None:
    assert events(b": hi\n\nevent: error\nid: 9\ndata: x\n\nevent: lost\n\n") == [ServerSentEvent(b"x", b"error", b"9")]


def test_only_one_space_after_the_colon_is_taken_away() -> None:
    assert data(b"data:  x\n\ndata:x\n\n") == [b" x", b"x"]


def test_a_byte_order_mark_is_taken_away_once() -> None:
    assert data(b"\xef\xbb", b"\xbfdata: x\n\n\xef\xbb\xbfdata: y\n\n") == [b"x"]


def test_a_line_end_cut_in_two_is_one_line_end() -> None:
    assert data(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [b"a\nb"]


def test_a_frame_that_never_ends_is_refused_before_it_fills_the_memory() -> None:
    cutter = FrameCutter(100)
    for _ in range(12):
        cutter.feed(b"data: x\n")
    with pytest.raises(FrameTooLarge):
        cutter.feed(b"data: x\n")
    assert cutter.tail == b""


def test_a_large_frame_is_refused_also_when_it_comes_whole() -> None:
    with pytest.raises(FrameTooLarge):
        events(b"data: ok\n\ndata: " + b"x" * 200 + b"\n\n", max_frame=100)


def test_many_small_frames_together_may_be_longer_than_one_frame_may_be() -> None:
    assert len(data(*[b"data: 0123456789\n\n" * 50])) == 50
    assert len(events(b"data: 0123456789\n\n" * 50, max_frame=100)) == 50


def test_a_large_frame_in_small_pieces_takes_time_in_proportion_to_its_length() -> None:
    cutter = FrameCutter()
    cutter.feed(b"data: ")
    for _ in range(7000):
        assert cutter.feed(b"x" * 1024) == b""
    assert len(cutter.feed(b"\n\n")) == 7000 * 1024 + 8
