"""Questions about usage: both stores give the same exact answer, and never another tenant's."""

import multiprocessing
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import text

from auterity.engines.database.sessions import Database
from auterity.engines.eventstore.errors import EventStoreBusy
from auterity.engines.eventstore.process import QueryProcess
from auterity.kit.clock import ManualClock
from auterity.kit.errors import InvalidRequest
from auterity.kit.ids import new_id
from auterity.platform.usage.collector import Collector
from auterity.platform.usage.errors import EventNotFound, UsageQuestionInvalid
from auterity.platform.usage.event import UsageEvent
from auterity.platform.usage.generator import EventGenerator
from auterity.platform.usage.query import Filter, Question, ReportRow
from auterity.platform.usage.repository import UsageRepository
from auterity.platform.usage.rollups import measures_of
from auterity.platform.usage.service import EXPLORATION, UsageService

ACME, GLOBEX = "ten_" + "a" * 32, "ten_" + "b" * 32
BEGIN = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
NOW = datetime(2026, 11, 24, 15, 20, tzinfo=UTC)

Group = Callable[[UsageEvent], tuple[str, ...]]


@pytest.fixture
def events() -> list[UsageEvent]:
    span = NOW - BEGIN
    generator = EventGenerator(
        seed=3,
        tenants=(ACME, GLOBEX),
        first_us=int(BEGIN.timestamp() * 1_000_000),
        span_us=span // timedelta(microseconds=1),
    )
    return generator.events(400)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process() -> AsyncIterator[QueryProcess]:
    """Starting one takes a second or more."""
    process = QueryProcess(EXPLORATION)
    yield process
    await process.close()


@pytest_asyncio.fixture
async def collected(
    events: Sequence[UsageEvent],
    write: Callable[[Sequence[UsageEvent]], None],
    new_collector: Callable[..., Collector],
) -> None:
    for part in range(3):
        write(events[part::3])
        await new_collector().collect_once()


@pytest.fixture
def service(collected: None, process: QueryProcess, database: Database, store: Path) -> UsageService:
    return UsageService(database, store, clock=ManualClock(NOW), process=process)


def expected(events: Sequence[UsageEvent], group: Group, tenant: str = ACME) -> dict[tuple[str, ...], tuple[int, ...]]:
    sums: dict[tuple[str, ...], tuple[int, ...]] = defaultdict(lambda: (0,) * len(measures_of(events[0])))
    for event in events:
        if event.tenant_id == tenant:
            pairs = zip(sums[group(event)], measures_of(event), strict=True)
            sums[group(event)] = tuple(before + added for before, added in pairs)
    return dict(sums)


def found(rows: Sequence[ReportRow]) -> dict[tuple[str, ...], tuple[int, ...]]:
    return {row.group: row.measures for row in rows}


def start(event: UsageEvent) -> datetime:
    return datetime.fromtimestamp(event.time_us / 1_000_000, UTC)


GROUPINGS: dict[tuple[str, ...], Group] = {
    (): lambda _: (),
    ("model",): lambda event: (event.model,),
    ("day", "key"): lambda event: (f"{start(event):%Y-%m-%d}", event.key_id),
    ("hour",): lambda event: (f"{start(event):%Y-%m-%dT%H:00:00Z}",),
    ("month", "user", "outcome"): lambda event: (f"{start(event):%Y-%m}", event.user_id, event.outcome),
    ("provider", "endpoint", "requested_model"): lambda event: (
        event.provider,
        event.endpoint,
        event.requested_model,
    ),
}


@pytest.mark.parametrize("groups", GROUPINGS)
async def test_both_stores_give_the_exact_answer(
    service: UsageService, events: list[UsageEvent], groups: tuple[str, ...]
) -> None:
    group = GROUPINGS[groups]
    from_rollups = await service.report(ACME, Question(), groups)
    # A microsecond off the hour is more than the roll-ups know; no event lies there.
    odd = Question(begin=datetime(2026, 11, 1, 0, 0, 0, 1, tzinfo=UTC))
    from_events = await service.report(ACME, odd, groups)
    assert (from_rollups.source, from_events.source) == ("rollups", "events")
    right = expected(events, group)
    for report in (from_rollups, from_events):
        assert report.totals.measures == expected(events, lambda _: ())[()]
        assert found(report.rows) == (right if groups else {})
        assert [row.group for row in report.rows] == sorted(row.group for row in report.rows)


async def test_tags_and_end_users_are_told_from_the_events(service: UsageService, events: list[UsageEvent]) -> None:
    report = await service.report(ACME, Question(), ("tag:team", "end_user", "tag:none"))
    assert report.source == "events"
    assert found(report.rows) == expected(events, lambda event: (event.tags["team"], event.end_user, ""))


async def test_filters_narrow_rows_and_totals(service: UsageService, events: list[UsageEvent]) -> None:
    filters = (Filter("model", ("gpt-5-mini", "claude-haiku")), Filter("outcome", ("ok",)))
    chosen = [event for event in events if event.model != "sandbox-small" and event.outcome == "ok"]
    for extra, source in (((), "rollups"), ((Filter("tag:team", ("ads",)),), "events")):
        wanted = [event for event in chosen if not extra or event.tags["team"] == "ads"]
        report = await service.report(ACME, Question(filters=(*filters, *extra)), ("model",))
        assert report.source == source
        assert found(report.rows) == expected(wanted, lambda event: (event.model,))
        assert report.totals.measures == expected(wanted, lambda _: ())[()]


async def test_a_period_is_exact_to_the_microsecond(service: UsageService, events: list[UsageEvent]) -> None:
    mine = sorted((event for event in events if event.tenant_id == ACME), key=lambda event: event.time_us)
    first, last = mine[10], mine[40]
    report = await service.report(ACME, Question(begin=start(first), end=start(last)))
    assert report.totals.measures[0] == 30


@pytest.mark.parametrize("question", [Question(), Question(begin=BEGIN + timedelta(microseconds=1))])
async def test_pages_make_up_the_whole_report(service: UsageService, question: Question) -> None:
    groups = ("day", "key", "model")
    whole = await service.report(ACME, question, groups, limit=1000)
    rows: list[ReportRow] = []
    cursor: str | None = None
    while True:
        page = await service.report(ACME, question, groups, cursor=cursor, limit=7)
        rows += page.rows
        cursor = page.next_cursor
        if cursor is None:
            break
    assert rows == whole.rows
    assert len(rows) > 20


async def test_events_come_newest_first_in_pages(service: UsageService, events: list[UsageEvent]) -> None:
    mine = [event for event in events if event.tenant_id == ACME]
    mine.sort(key=lambda event: (event.time_us, event.id), reverse=True)
    listed: list[UsageEvent] = []
    cursor: str | None = None
    while True:
        page = await service.events(ACME, Question(), cursor=cursor, limit=60)
        listed += page.events
        cursor = page.next_cursor
        if cursor is None:
            break
    assert listed == mine


async def test_one_event_is_found_by_its_id(
    service: UsageService,
    write: Callable[[Sequence[UsageEvent]], None],
    new_collector: Callable[..., Collector],
) -> None:
    fresh = EventGenerator().event(tenant_id=ACME, time_us=int(datetime.now(UTC).timestamp() * 1_000_000) - 5_000_000)
    write([fresh])
    await new_collector().collect_once()
    assert await service.event(ACME, fresh.id) == fresh
    for tenant, event_id in ((GLOBEX, fresh.id), (ACME, new_id("evt")), (ACME, "evt_?"), (ACME, "evt_" + "f" * 32)):
        with pytest.raises(EventNotFound):
            await service.event(tenant, event_id)


async def test_another_tenant_s_usage_cannot_be_seen(service: UsageService, events: list[UsageEvent]) -> None:
    theirs = {event.id for event in events if event.tenant_id == GLOBEX}
    assert theirs
    page = await service.events(ACME, Question(), limit=1000)
    assert theirs.isdisjoint(event.id for event in page.events)
    for groups in GROUPINGS:
        for question in (Question(), Question(begin=BEGIN)):
            mine = await service.report(ACME, question, groups)
            assert mine.totals.measures == expected(events, lambda _: (), ACME)[()]
    nobody = await service.report("ten_" + "c" * 32, Question(begin=BEGIN), ("model",))
    assert (nobody.rows, set(nobody.totals.measures)) == ([], {0})


async def test_the_database_too_keeps_tenants_apart(
    service: UsageService, database: Database, events: list[UsageEvent]
) -> None:
    async with database.tenant(GLOBEX) as scope:
        for table in ("usage_hourly", "usage_daily"):
            tenants = await scope.session.scalars(text(f"SELECT DISTINCT tenant_id FROM {table}"))
            assert tenants.all() == [GLOBEX]


async def test_a_file_that_was_merged_meanwhile_is_looked_up_again(
    service: UsageService,
    events: list[UsageEvent],
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, calls = UsageRepository.files, list[int]()

    async def late(self: UsageRepository, begin_us: int, end_us: int) -> list[str]:
        calls.append(1)
        paths = await real(self, begin_us, end_us)
        return [*paths, "2026-11-22/merged-away.v1.x.parquet"] if len(calls) == 1 else paths

    monkeypatch.setattr(UsageRepository, "files", late)
    report = await service.report(ACME, Question(begin=BEGIN))
    assert report.totals.measures == expected(events, lambda _: ())[()]
    assert len(calls) == 2


async def test_an_answer_that_takes_too_long_is_given_up(
    service: UsageService, process: QueryProcess, database: Database, store: Path
) -> None:
    hurried = UsageService(database, store, clock=ManualClock(NOW), query_seconds=0.0, process=process)

    with pytest.raises(EventStoreBusy):
        await hurried.report(ACME, Question(begin=BEGIN))


async def test_a_query_process_that_dies_is_started_again(service: UsageService, process: QueryProcess) -> None:
    await service.report(ACME, Question(begin=BEGIN))
    for child in multiprocessing.active_children():
        child.kill()
    report = await service.report(ACME, Question(begin=BEGIN))
    assert report.totals.measures[0] > 0


@pytest.mark.parametrize(
    ("question", "groups"),
    [
        (Question(), ("colour",)),
        (Question(), ("tag:",)),
        (Question(), ("model", "model")),
        (Question(begin=NOW, end=NOW), ()),
        (Question(begin=datetime(1850, 1, 1, tzinfo=UTC)), ()),
        (Question(filters=(Filter("model", ("a\0b",)),)), ()),
        (Question(filters=(Filter("cost_nano; DROP TABLE usage_daily", ("1",)),)), ()),
    ],
)
async def test_a_question_that_cannot_be_is_refused(
    service: UsageService, question: Question, groups: tuple[str, ...]
) -> None:
    with pytest.raises(UsageQuestionInvalid):
        await service.report(ACME, question, groups)


async def test_a_foreign_cursor_is_refused(service: UsageService) -> None:
    for cursor in ("rubbish", "WzFd", "WyJhIiwiYiJd"):
        with pytest.raises(InvalidRequest):
            await service.report(ACME, Question(), ("model", "key", "day"), cursor=cursor)
    with pytest.raises(InvalidRequest):
        await service.events(ACME, Question(), cursor="WyJhIiwiYiJd")


def test_the_gateway_s_process_never_loads_the_query_libraries() -> None:
    script = """
        import sys
        import auterity.platform.usage.endpoints, auterity.platform.usage.service
        import auterity.platform.usage.recording, auterity.platform.usage.spending, auterity.platform.usage.backlog
        import auterity.platform.usage.status
        heavy = {"pyarrow", "duckdb", "ibis", "pandas", "numpy"} & set(sys.modules)
        sys.exit(len(heavy))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


async def test_asking_the_event_store_loads_nothing_here(service: UsageService) -> None:
    before = set(sys.modules)  # other tests of this process may have loaded anything
    await service.report(ACME, Question(begin=BEGIN))
    assert not {"ibis", "duckdb", "pyarrow", "pandas"} & (set(sys.modules) - before)
