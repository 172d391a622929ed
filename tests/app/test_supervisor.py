"""A server that is started, disturbed and stopped like a real one; its worker and collector are stand-ins."""

import base64
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil
import pytest

from auterity.engines.counters.selection import FILE_NAME

STAND_INS = Path(__file__).with_name("stand_ins")
DEADLINE_S = 30.0
MASTER_KEY = base64.b64encode(bytes(32)).decode()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:g} s in vain: {what}"
        time.sleep(0.02)


def read_lines(stream: IO[str], lines: list[str]) -> None:
    with stream:
        lines.extend(stream)


def leave_counts(home: Path) -> list[Path]:
    """Files as workers leave them behind."""
    metrics = home / "run" / "metrics"
    metrics.mkdir(exist_ok=True)
    paths = [home / "run" / (FILE_NAME + suffix) for suffix in ("", "-wal", "-shm")]
    paths += [metrics / "worker-0.values", metrics / "worker-0.series"]
    for path in paths:
        path.write_bytes(b"")
    return paths


class Server:
    """A supervisor in a process of its own."""

    def __init__(self, home: Path, database_url: str | None, *flags: str, worker: str = "stand_in_worker") -> None:
        self.home = home
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AUTERITY_")}
        environment["PYTHONPATH"] = str(STAND_INS)
        environment["AUTERITY_MASTER_KEY"] = MASTER_KEY
        if database_url is not None:
            environment["AUTERITY_DATABASE_URL"] = database_url
        self.process = subprocess.Popen(
            [sys.executable, str(STAND_INS / "serve.py"), worker, f"home={home}", "port=0", *flags],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.output: list[str] = []
        self.log: list[str] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=read_lines, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stdout, self.output), (self.process.stderr, self.log))
        ]
        for reader in self._readers:
            reader.start()

    def wait_until_it_serves(self) -> "Server":
        until(lambda: "is running at" in self.said or self.process.poll() is not None, "the banner")
        assert self.process.poll() is None, "".join(self.log)
        return self

    @property
    def said(self) -> str:
        return "".join(self.output)

    @property
    def port(self) -> int:
        found = re.search(r"running at http://127\.0\.0\.1:(\d+)", self.said)
        assert found is not None
        return int(found[1])

    def get(self, path: str = "/") -> list[str]:
        """Name, slot, process, body limit and database URL of the worker that answered."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)) as connection:
            connection.request("GET", path)
            return connection.getresponse().read().decode().split()

    def workers(self) -> set[int]:
        return self._children("stand_in_worker")

    def collectors(self) -> set[int]:
        return self._children("stand_in_collector")

    def _children(self, module: str) -> set[int]:
        found: set[int] = set()
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # a zombie, too, is none of them any more
                if f"-m {module}" in " ".join(child.cmdline()):
                    found.add(child.pid)
        return found

    def logged(self, pattern: str) -> bool:
        return re.search(pattern, "".join(self.log)) is not None

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        return code


@pytest.fixture
def serve(tmp_path: Path, database_url: str) -> Iterator[Callable[..., Server]]:
    """Starts servers on one home folder, with a database that runs already."""
    servers: list[Server] = []

    def start(*flags: str, worker: str = "stand_in_worker") -> Server:
        server = Server(tmp_path / "home", database_url, *flags, worker=worker)
        servers.append(server)
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.wait()


Serve = Callable[..., Server]


def test_a_first_start_shows_its_secrets_once_and_a_later_one_shows_none(serve: Serve) -> None:
    first = serve().wait_until_it_serves()
    assert "the-password" in first.said
    assert f"curl http://127.0.0.1:{first.port}/v1/chat/completions" in first.said
    assert "Bearer ak-the-key" in first.said
    assert first.end() == 0
    later = serve().wait_until_it_serves()
    assert "ak-" not in later.said
    assert "password" not in later.said
    assert "auterity keys create" in later.said
    assert later.end() == 0


def test_children_learn_secrets_from_the_pipe_and_never_from_argv_or_the_environment(serve: Serve) -> None:
    server = serve().wait_until_it_serves()
    for pid in server.workers() | server.collectors():
        process = psutil.Process(pid)
        assert MASTER_KEY not in " ".join(process.cmdline())
        assert not [name for name in process.environ() if name.startswith("AUTERITY_")]
    assert MASTER_KEY not in "".join(server.log) + server.said


def test_all_workers_answer_on_the_one_port(serve: Serve) -> None:
    server = serve("workers=2").wait_until_it_serves()
    assert len(server.workers()) == 2
    seen: set[str] = set()
    until(lambda: seen.add(server.get()[1]) or seen == {"0", "1"}, "both workers to have answered")
    assert server.end() == 0


def test_a_dead_worker_is_replaced_and_the_reason_logged(serve: Serve) -> None:
    server = serve().wait_until_it_serves()
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    until(lambda: server.workers() not in (set(), {worker}), "a new worker")
    assert server.get()[2] != str(worker)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        server.get("/die")
    assert server.get()[1] == "0"
    assert server.end() == 0
    assert server.logged(rf"worker-\d+ \(process {worker}\) was ended by SIGKILL after")
    assert server.logged(r"worker-\d+ \(process \d+\) exited with code 9 after")


def test_a_dead_collector_is_replaced(serve: Serve) -> None:
    server = serve().wait_until_it_serves()
    (collector,) = server.collectors()
    os.kill(collector, signal.SIGKILL)
    until(lambda: server.collectors() not in (set(), {collector}), "a new collector")
    assert server.end() == 0


def test_a_call_in_flight_finishes_on_shutdown_and_the_collector_ends_after_it(serve: Serve) -> None:
    server = serve().wait_until_it_serves()
    with slow_call(server, 1) as answer:
        server.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(server.port), "the port to close")
        ended = server.home / "run" / "collector-ended"
        assert not ended.exists()
        assert answer.readline().startswith(b"worker-")
    assert server.wait() == 0
    assert ended.exists()


def test_calls_that_outlast_the_grace_are_cut_and_the_exit_code_says_so(serve: Serve) -> None:
    server = serve("shutdown_grace_s=0.2").wait_until_it_serves()
    with slow_call(server, 60):
        assert server.end() == 0  # the worker itself gives up in time


def test_a_second_signal_stops_by_force(serve: Serve) -> None:
    server = serve("shutdown_grace_s=60").wait_until_it_serves()
    with slow_call(server, 60):
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGTERM)  # an echo, as from a process group
        until(lambda: server.logged("stopping; calls may take"), "the first signal")
        until(lambda: server.process.send_signal(signal.SIGTERM) or server.logged("SIGTERM again"), "the second one")
        assert server.wait() == 3


def test_children_die_with_a_server_that_was_killed_and_the_next_start_is_not_hindered(serve: Serve) -> None:
    server = serve("workers=2").wait_until_it_serves()
    children = [psutil.Process(pid) for pid in server.workers() | server.collectors()]
    assert len(children) == 3
    server.process.kill()
    gone, alive = psutil.wait_procs(children, DEADLINE_S)
    assert (len(gone), alive) == (3, [])
    assert serve(f"port={server.port}").wait_until_it_serves().end() == 0


def test_two_servers_cannot_share_a_home(serve: Serve) -> None:
    first = serve("workers=2").wait_until_it_serves()
    counted = leave_counts(first.home)
    second = serve()
    assert second.wait() == 1
    assert second.logged(rf"Another Auterity server \(process {first.process.pid} at http://127")
    assert first.get()
    assert all(path.exists() for path in counted)


def test_a_start_forgets_what_a_former_servers_workers_counted(serve: Serve) -> None:
    first = serve().wait_until_it_serves()
    first.process.kill()
    first.wait()
    counted = leave_counts(first.home)
    serve().wait_until_it_serves()
    assert [path.name for path in counted if path.exists()] == []


def test_counts_that_are_older_than_the_one_worker_before_them_are_forgotten(serve: Serve) -> None:
    server = serve().wait_until_it_serves()
    counted = [path for path in leave_counts(server.home) if path.name.startswith(FILE_NAME)]
    (server.home / "auterity.yaml").write_text("workers: 2\n")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: server.logged("SIGHUP: applied workers"), "the reload")
    assert [path.name for path in counted if path.exists()] == []


def test_a_taken_port_is_said_with_what_to_do(serve: Serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = serve(f"port={taken.getsockname()[1]}")
        assert server.wait() == 1
    assert server.logged(r"Port \d+ on 127\.0\.0\.1 is taken by another program\. Stop it, or choose another port")


def test_workers_that_cannot_start_end_the_server_with_a_reason(serve: Serve) -> None:
    server = serve(worker="failing_worker")
    assert server.wait() == 1
    assert server.logged("the stand-in worker cannot start")
    assert server.logged("worker-\\d+ exited with code 1 before it was ready")


def test_a_reload_exchanges_the_workers_and_refuses_no_caller(serve: Serve) -> None:
    server = serve()
    server.wait_until_it_serves()
    config = server.home / "auterity.yaml"
    before = server.get()
    failures: list[Exception] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            try:
                assert server.get()
            except (OSError, http.client.HTTPException, AssertionError) as error:
                failures.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    config.write_text("body_limit_bytes: 20MiB\nhost: 0.0.0.0\nworkers: 2\n")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: server.logged("SIGHUP: applied body_limit_bytes, workers"), "the reload")
    stop.set()
    caller.join()
    assert failures == []
    after = server.get()
    assert (before[3], after[3]) == (str(10 << 20), str(20 << 20))
    until(lambda: len(server.workers()) == 2, "two workers and no more")
    until(lambda: len(server.collectors()) == 1, "one collector")
    assert server.logged("SIGHUP: host can only change with a restart")
    assert server.end() == 0


def test_a_reload_with_wrong_settings_changes_nothing_and_names_the_line(serve: Serve) -> None:
    server = serve().wait_until_it_serves()
    workers = server.workers()
    (server.home / "auterity.yaml").write_text("workers: many\n")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: server.logged(r"SIGHUP: nothing changed: .*auterity\.yaml:1: workers must be"), "the refusal")
    assert server.workers() == workers
    assert server.end() == 0


@pytest.mark.slow
def test_the_embedded_database_starts_with_the_server_recovers_and_stops_with_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    server = Server(home, None).wait_until_it_serves()
    pid_file = home / "postgres" / "data" / "postmaster.pid"
    first = int(pid_file.read_text().split()[0])
    os.kill(first, signal.SIGKILL)
    until(
        lambda: server.logged("the embedded database has died") and pid_of(pid_file) not in (None, first), "PostgreSQL"
    )
    assert server.end() == 0
    assert not pid_file.exists()
    begun = time.monotonic()
    again = Server(home, None).wait_until_it_serves()
    assert time.monotonic() - begun < 6  # the promise is 3 s on an idle machine; tests share this one
    assert again.end() == 0


@contextmanager
def slow_call(server: Server, seconds: float) -> Generator[http.client.HTTPResponse]:
    """A call whose answer has begun and goes on for a while."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
    connection.request("GET", f"/slow={seconds}")
    with closing(connection), connection.getresponse() as answer:
        assert answer.readline() == b"begun\n"
        yield answer


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def pid_of(file: Path) -> int | None:
    try:
        return int(file.read_text().split()[0])
    except (FileNotFoundError, IndexError):
        return None
