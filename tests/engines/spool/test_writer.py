"""The writing end: room is promised before it is used, and what was written outlives its process."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auterity.engines.spool.errors import FrameTooLarge, SpoolFull
from auterity.engines.spool.frames import MAX_FRAME, MAX_PAYLOAD, Ending, read_frames
from auterity.engines.spool.segments import list_segments, used_bytes, writer_gone
from auterity.engines.spool.writer import SpoolWriter

SMALL = 4 * MAX_FRAME


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.002)


def everything(directory: Path) -> list[bytes]:
    return [payload for path in list_segments(directory) for payload in read_frames(path).payloads]


def put(writer: SpoolWriter, payload: bytes) -> int:
    writer.admit()
    return writer.append(payload)


def until_full(step: Callable[[], object]) -> int:
    """How often ``step`` went well before the spool was full."""
    done = 0
    try:
        while True:
            step()
            done += 1
    except SpoolFull:
        return done


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    made = SpoolWriter(tmp_path, segment_bytes=SMALL)
    yield made
    made.close()


def test_frames_come_back_in_order_over_many_files(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=SMALL)
    payloads = [n.to_bytes(4, "big") * (1 + 7 * n) for n in range(300)]
    for payload in payloads:
        put(writer, payload)
    writer.close()
    assert everything(tmp_path) == payloads
    assert len(list_segments(tmp_path)) > 5
    assert all(writer_gone(path) for path in list_segments(tmp_path))


def test_a_closed_spool_keeps_no_room(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    put(writer, b"x")
    writer.close()
    assert used_bytes(tmp_path) < 200


def test_a_living_writer_s_segments_are_seen_as_such(tmp_path: Path, writer: SpoolWriter) -> None:
    put(writer, b"x")
    assert not any(writer_gone(path) for path in list_segments(tmp_path))


def test_room_that_was_promised_is_there_for_the_largest_frames(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=SMALL, max_bytes=16 * SMALL)
    claims = until_full(writer.admit)
    assert claims > 30
    largest = b"\xff" * MAX_PAYLOAD
    for n in range(claims):
        writer.append(largest if n % 3 else b"small")
    writer.close()
    assert len(everything(tmp_path)) == claims
    assert used_bytes(tmp_path) <= 16 * SMALL


def test_a_withdrawn_claim_is_given_to_another(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=SMALL, max_bytes=8 * SMALL)
    until_full(writer.admit)
    writer.withdraw()
    writer.admit()
    writer.close()


def test_a_full_spool_recovers_by_itself_when_there_is_room_again(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=SMALL, max_bytes=8 * SMALL)
    until_full(lambda: put(writer, b"\xff" * 5000))
    assert writer.gauges.refused == 1

    def drained() -> bool:
        for path in list_segments(tmp_path):
            if writer_gone(path):
                path.unlink()
        try:
            writer.admit()
        except SpoolFull:
            return False
        return True

    wait_until(drained)
    writer.append(b"after")
    writer.close()
    assert everything(tmp_path)[-1] == b"after"


def test_a_claim_is_ended_once(tmp_path: Path, writer: SpoolWriter) -> None:
    with pytest.raises(RuntimeError):
        writer.append(b"without a claim")
    with pytest.raises(RuntimeError):
        writer.withdraw()
    writer.admit()
    with pytest.raises(FrameTooLarge):
        writer.append(b"x" * (MAX_PAYLOAD + 1))
    assert writer.gauges.claims == 0


def test_a_file_that_is_old_enough_is_sealed(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=SMALL, max_age_s=0.0)
    put(writer, b"first")

    def sealed() -> bool:
        put(writer, b"next")
        return any(
            read_frames(path, ended=False).ending is Ending.CLEAN and writer_gone(path)
            for path in list_segments(tmp_path)
        )

    wait_until(sealed)
    writer.close()


async def test_a_strict_caller_waits_for_the_disk(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, sync_delay_s=0)
    numbers = [put(writer, b"x") for _ in range(50)]
    await asyncio.gather(*(writer.synced(number) for number in numbers))
    assert writer.gauges.unsynced == 0
    writer.close()


def test_a_group_is_synced_without_being_asked(writer: SpoolWriter) -> None:
    put(writer, b"x")
    wait_until(lambda: writer.gauges.unsynced == 0)


def test_a_disk_that_fails_is_left_for_another_file_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=SMALL)
    put(writer, b"before")
    real, failures = os.pwrite, [1]

    def failing(fd: int, data: bytes, offset: int) -> int:
        if failures and b"during" in data:
            failures.pop()
            return real(fd, data[:7], offset)  # a torn write
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", failing)
    put(writer, b"during")
    put(writer, b"after")
    writer.close()
    assert everything(tmp_path) == [b"before", b"during", b"after"]


def test_a_sync_that_fails_is_told_to_who_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        writer = SpoolWriter(tmp_path, segment_bytes=SMALL, sync_delay_s=0)
        first = put(writer, b"first")
        await writer.synced(first)

        def broken(_fd: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", broken)
            with pytest.raises(SpoolFull):
                await writer.synced(put(writer, b"second"))
        await writer.synced(put(writer, b"third"))
        assert writer.gauges.sync_failures >= 1
        writer.close()

    asyncio.run(scenario())
    assert everything(tmp_path) == [b"first", b"second", b"third"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk_is_met_at_admission_and_never_in_the_middle_of_a_record(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        writer = SpoolWriter(tmp_path, segment_bytes=2 * SMALL)
        written = until_full(lambda: put(writer, b"\xff" * 3000))
        assert written > 100
        wait_until(lambda: any(writer_gone(path) for path in list_segments(tmp_path)))
        ended = next(path for path in list_segments(tmp_path) if writer_gone(path))
        lost = len(read_frames(ended).payloads)
        ended.unlink()

        def admitted() -> bool:
            try:
                writer.admit()
            except SpoolFull:
                return False
            return True

        wait_until(admitted)
        writer.append(b"after")
        writer.close()
        assert len(everything(tmp_path)) == written - lost + 1
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from auterity.engines.spool.writer import SpoolWriter
    writer = SpoolWriter(Path(sys.argv[1]), segment_bytes=65536)
    n = 0
    while True:
        writer.admit()
        writer.append(b"%d " % n * 40)
        print(n, flush=True)
        n += 1
    """
)


def test_what_was_written_outlives_a_kill(tmp_path: Path) -> None:
    for round_number in range(5):
        directory = tmp_path / str(round_number)
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(200 + 150 * round_number):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        acknowledged = 200 + 150 * round_number + len(process.stdout.read().splitlines())
        process.wait()
        process.stdout.close()
        numbers = [int(payload.split()[0]) for payload in everything(directory)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= acknowledged
        assert all(writer_gone(path) for path in list_segments(directory))
