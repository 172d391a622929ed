"""``auterity doctor``: looks at everything a node needs, and says of what is wrong how to mend it.

Each check returns findings and changes nothing. It works whether or not the server runs.
"""

import asyncio
import resource
import shutil
import stat
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import httpx2

from auterity.app.home import Home, Serving
from auterity.app.listener import AddressUnusable, bind
from auterity.app.settings import Settings
from auterity.engines.counters.selection import counters_for
from auterity.engines.spool.segments import used_bytes
from auterity.kit.clock import Clock, SystemClock
from auterity.kit.errors import AuterityError
from auterity.platform.usage.status import read_status

__all__ = ["Check", "Finding", "State", "check_node", "run_checks"]

_PATIENCE_S = 20.0
_MIB, _GIB = 1 << 20, 1 << 30
_FILES_WANTED, _FILES_NEEDED = 8192, 1024
_LAG_WARN_S, _STALE_S = 30.0, 15.0


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    """Works, and will not always."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found."""

    check: str
    state: State
    detail: str
    remedy: str = ""
    """What to do; empty where all is well."""


Check = Callable[[], Awaitable[Sequence[Finding]]]


async def run_checks(checks: dict[str, Check]) -> list[Finding]:
    """Run all checks side by side; one that fails or hangs is a finding itself."""

    async def guarded(name: str, check: Check) -> Sequence[Finding]:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await check()
        except TimeoutError:
            return [Finding(name, State.FAIL, f"no answer within {_PATIENCE_S:g} s", "See whether it is overloaded.")]
        except AuterityError as error:
            return [Finding(name, State.FAIL, error.message, "Do as the message says, then run the doctor again.")]

    found = await asyncio.gather(*(guarded(name, check) for name, check in checks.items()))
    return [finding for findings in found for finding in findings]


def check_node(settings: Settings, clock: Clock | None = None) -> dict[str, Check]:
    """The checks of this machine: what does not need the database."""
    home = Home(settings.home)
    present = clock or SystemClock()

    async def files() -> Sequence[Finding]:
        return [*_home(home), *_disk(settings, home), *_open_files()]

    async def server() -> Sequence[Finding]:
        serving = home.serving()
        if serving is None:
            return [_port(settings)]
        return [await _server(serving), *_collector(home, present)]

    async def counters() -> Sequence[Finding]:
        return [await _redis(settings, home)]

    return {"home": files, "server": server, "redis": counters}


def _home(home: Home) -> Iterator[Finding]:
    if not home.exists:
        yield Finding(
            "home", State.WARN, f"{home.path} is not prepared yet", "Run `auterity init` or `auterity serve`."
        )
        return
    open_to_others = [
        path for path in (home.secrets, *sorted(home.secrets.iterdir())) if stat.S_IMODE(path.lstat().st_mode) & 0o077
    ]
    if open_to_others:
        named = " ".join(f"'{path}'" for path in open_to_others)
        yield Finding("home", State.FAIL, f"others may read the secrets: {named}", f"Run: chmod go= {named}")
    elif stat.S_IMODE(home.path.stat().st_mode) & 0o066:
        yield Finding("home", State.WARN, f"others may list {home.path}", f"Run: chmod go-rw '{home.path}'")
    else:
        yield Finding("home", State.OK, f"{home.path}, closed to others")


def _disk(settings: Settings, home: Home) -> Iterator[Finding]:
    where = next(path for path in (home.path, *home.path.parents) if path.exists())
    free = shutil.disk_usage(where).free
    waiting = used_bytes(home.spool) if home.spool.is_dir() else 0
    needed = settings.spool_max_bytes - waiting
    told = f"{_size(free)} free at {where}"
    if free < 512 * _MIB:
        yield Finding(
            "disk", State.FAIL, told, "Free some space: without it usage cannot be recorded, nor calls served."
        )
    elif free < needed + _GIB:
        yield Finding(
            "disk",
            State.WARN,
            f"{told}, less than the spool may take ({_size(settings.spool_max_bytes)}) and 1 GiB for the database",
            "Free some space, move the home folder (--home), or lower --spool-max-bytes.",
        )
    else:
        yield Finding("disk", State.OK, told)
    share = waiting / settings.spool_max_bytes
    state = State.FAIL if share > 0.9 else State.WARN if share > 0.5 else State.OK
    yield Finding(
        "spool",
        state,
        f"takes {_size(waiting)} on disk, {share:.0%} of what it may",
        "" if state is State.OK else "See that the database can be reached and the server runs: it collects then.",
    )


def _open_files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = f"a process may open {soft} files"
    if soft >= _FILES_WANTED:
        yield Finding("open files", State.OK, told)
        return
    state = State.WARN if soft >= _FILES_NEEDED else State.FAIL
    remedy = "Each call takes two of them. Run `ulimit -n 65536` before serving, or set LimitNOFILE= in the unit."
    yield Finding("open files", state, f"{told} (limit {hard})", remedy)


def _port(settings: Settings) -> Finding:
    try:
        bind(settings.host, settings.port).close()
    except AddressUnusable as error:
        return Finding("server", State.FAIL, error.message, "Do as the message says.")
    return Finding("server", State.OK, f"not running; {settings.host}:{settings.port} is free")


async def _server(serving: Serving) -> Finding:
    if not serving.url:
        return Finding("server", State.WARN, f"process {serving.pid} is starting", "Run the doctor again in a moment.")
    told = f"process {serving.pid} at {serving.url}"
    try:
        async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
            answer = await client.get(f"{serving.url}/health/ready")
    except httpx2.HTTPError:
        return Finding(
            "server", State.FAIL, f"{told} does not answer", "See its log; restart it if it does not recover."
        )
    if answer.status_code != 200:
        return Finding("server", State.FAIL, f"{told} is not ready: {answer.text[:300]}", "See the part it names.")
    if '"degraded"' in answer.text:
        return Finding("server", State.WARN, f"{told} is degraded: {answer.text[:300]}", "See the part it names.")
    return Finding("server", State.OK, f"{told} is ready")


def _collector(home: Home, clock: Clock) -> Iterator[Finding]:
    status = read_status(home.spool)
    if status is None:
        yield Finding("collector", State.FAIL, "it has not said anything yet", "See the server's log.")
        return
    age = (clock.epoch_us() - status.updated_us) / 1e6
    if age > _STALE_S:
        yield Finding(
            "collector", State.FAIL, f"silent for {age:.0f} s", "See the server's log; restart it if it hangs."
        )
    elif status.last_error:
        yield Finding("collector", State.WARN, f"cannot move on: {status.last_error}", "It tries again by itself.")
    elif status.lag_s > _LAG_WARN_S:
        detail = f"{status.lag_s:.0f} s and {_size(status.bytes_behind)} behind"
        yield Finding("collector", State.WARN, detail, "See whether the database or the disk is slow.")
    else:
        yield Finding("collector", State.OK, f"{status.lag_s:.1f} s behind, {status.events} events since its start")
    if status.dead_letters or status.quarantined_bytes:
        yield Finding(
            "collector",
            State.WARN,
            f"{status.dead_letters} events and {status.quarantined_bytes} bytes could not be read and were set aside",
            f"They are kept in {home.spool}; send them to support, they may be usage that was not counted.",
        )


async def _redis(settings: Settings, home: Home) -> Finding:
    if settings.redis_url is None:
        return Finding("redis", State.OK, "not used: limits are shared by this node's workers only")
    counters = counters_for(settings.redis_url, settings.workers, home.run)
    try:
        begun = asyncio.get_running_loop().time()
        await counters.ping()
        took = (asyncio.get_running_loop().time() - begun) * 1000
    except AuterityError as error:
        return Finding("redis", State.FAIL, error.message, "Check --redis-url, and that Redis runs and lets us in.")
    finally:
        await counters.close()
    return Finding("redis", State.OK, f"answers in {took:.1f} ms, connecting included")


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.0f} MiB"
