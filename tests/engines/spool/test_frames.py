"""The segment format: what was written whole is read whole, and damage is never taken for the end."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.engines.spool.errors import NotASegment
from auterity.engines.spool.frames import (
    HEADER_SIZE,
    MAX_PAYLOAD,
    OVERHEAD,
    Ending,
    encode_frame,
    encode_header,
    encode_seal,
    read_frames,
    read_header,
)

SEGMENT_ID = "0" * 31 + "1"
payloads = st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def segment() -> Iterator[Path]:
    with TemporaryDirectory() as directory:
        yield Path(directory) / "a.seg"


def written(contents: list[bytes], *, sealed: bool = False, zeros: int = 0) -> bytes:
    data = encode_header(SEGMENT_ID, 7) + b"".join(encode_frame(payload) for payload in contents)
    if sealed:
        data += encode_seal(len(data))
    return data + b"\0" * zeros


def ends(contents: list[bytes]) -> list[int]:
    at, found = HEADER_SIZE, [HEADER_SIZE]
    for payload in contents:
        at += len(payload) + OVERHEAD
        found.append(at)
    return found


@given(payloads, st.booleans(), st.integers(0, 40))
def test_every_frame_comes_back(segment: Path, contents: list[bytes], sealed: bool, zeros: int) -> None:
    segment.write_bytes(written(contents, sealed=sealed, zeros=zeros))
    found = read_frames(segment)
    assert (found.payloads, found.offset, found.ending) == (contents, ends(contents)[-1], Ending.CLEAN)


@given(payloads, st.integers(1, 3))
def test_reading_goes_on_where_it_stopped(segment: Path, contents: list[bytes], limit: int) -> None:
    segment.write_bytes(written(contents, zeros=30))
    found: list[bytes] = []
    at = HEADER_SIZE
    while True:
        part = read_frames(segment, at, limit=limit, ended=False)
        found += part.payloads
        at = part.offset
        if part.ending is not Ending.MORE:
            break
    assert found == contents
    assert part.ending is Ending.OPEN


@given(payloads, st.sampled_from([0, 50]))
def test_a_tail_cut_at_any_byte_costs_only_the_frame_that_was_cut(
    segment: Path, contents: list[bytes], zeros: int
) -> None:
    whole = written(contents)
    boundaries = ends(contents)
    for cut in range(HEADER_SIZE, len(whole)):
        segment.write_bytes(whole[:cut] + b"\0" * zeros)
        found = read_frames(segment)
        intact = sum(end <= cut for end in boundaries) - 1
        assert found.payloads == contents[:intact]
        assert found.offset == boundaries[intact]
        if cut in boundaries:
            assert found.ending is Ending.CLEAN
        else:
            # The bytes before the cut may all be zeros, which is no frame at all.
            assert found.ending in ({Ending.TORN} if any(whole[boundaries[intact] : cut]) else {Ending.CLEAN})


@given(payloads.filter(lambda contents: len(contents) > 1), st.data())
def test_a_flipped_bit_before_the_end_is_called_damage(
    segment: Path, contents: list[bytes], data: st.DataObject
) -> None:
    whole = bytearray(written(contents, sealed=data.draw(st.booleans()), zeros=data.draw(st.sampled_from([0, 50]))))
    boundaries = ends(contents)
    position = data.draw(st.integers(HEADER_SIZE, boundaries[-2] - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    segment.write_bytes(whole)
    found = read_frames(segment)
    intact = sum(end <= position for end in boundaries) - 1
    assert found.ending is Ending.CORRUPT
    assert found.payloads == contents[:intact]
    assert found.offset == boundaries[intact]


@given(payloads, st.data())
def test_a_flipped_bit_in_the_last_frame_never_passes_as_data(
    segment: Path, contents: list[bytes], data: st.DataObject
) -> None:
    whole = bytearray(written(contents, zeros=50))
    boundaries = ends(contents)
    position = data.draw(st.integers(boundaries[-2], boundaries[-1] - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    segment.write_bytes(whole)
    found = read_frames(segment)
    assert found.payloads == contents[:-1]
    assert found.ending in {Ending.CORRUPT, Ending.TORN}


def test_a_page_lost_in_the_middle_is_called_damage(segment: Path) -> None:
    contents = [bytes([65 + n]) * 100 for n in range(20)]
    whole = bytearray(written(contents, zeros=500))
    begin = ends(contents)[5]
    whole[begin : begin + 400] = b"\0" * 400
    segment.write_bytes(whole)
    found = read_frames(segment)
    assert (len(found.payloads), found.ending) == (5, Ending.CORRUPT)


def test_an_unfinished_frame_of_a_living_writer_is_waited_for(segment: Path) -> None:
    whole = written([b"first", b"second"])
    segment.write_bytes(whole[:-3] + b"\0" * 100)
    found = read_frames(segment, ended=False)
    assert (found.payloads, found.ending) == ([b"first"], Ending.OPEN)


def test_the_longest_frames_cross_the_reader_s_chunks(segment: Path) -> None:
    contents = [bytes([1 + n % 255]) * MAX_PAYLOAD for n in range(40)]
    segment.write_bytes(written(contents, sealed=True))
    assert read_frames(segment).payloads == contents


def test_a_header_tells_the_segment_s_id(segment: Path) -> None:
    segment.write_bytes(written([b"x"]))
    assert read_header(segment).segment_id == SEGMENT_ID
    assert read_header(segment).created_us == 7


@pytest.mark.parametrize("position", [0, 8, 20, 40, HEADER_SIZE - 1])
def test_a_damaged_header_is_refused(segment: Path, position: int) -> None:
    whole = bytearray(written([b"x"]))
    whole[position] ^= 1
    segment.write_bytes(whole)
    with pytest.raises(NotASegment):
        read_header(segment)
