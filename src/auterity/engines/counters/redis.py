"""Counters in Redis or Valkey, single or Cluster, that the workers of several nodes share.

Each step is one Lua script and one round trip. A budget and its holds carry the same hash tag, so that they live in one
slot. Time is the server's. Importing this module loads the client (17 MB, 0.4 s): ``selection`` does it only where
Redis is configured.
"""

import asyncio
from typing import Protocol, cast

import glide

from auterity.engines.counters.address import RedisAddress
from auterity.engines.counters.errors import AmountOutOfRange, check_amount
from auterity.engines.counters.gcra import MAX_CAPACITY
from auterity.engines.counters.port import (
    CountersUnavailable,
    Rate,
    RateDecision,
    ReservationDecision,
    ReservationStatus,
)

__all__ = ["RedisCounters"]


class _Client(Protocol):
    """What is used of the client, single or Cluster; its own types are recursive beyond what a checker can follow."""

    async def invoke_script(self, script: glide.Script, keys: list[str], args: list[str]) -> object: ...
    async def custom_command(self, command_args: list[str]) -> object: ...
    async def ping(self) -> bytes: ...
    async def close(self) -> None: ...


_IN_FLIGHT = 100_000
"""The gateway bounds its own concurrency; the client's default of 1,000 would refuse steps before that."""

_STATUSES = (ReservationStatus.REFUSED, ReservationStatus.HELD, ReservationStatus.UNSEEDED)

# The arithmetic is that of gcra.step. Above 2^53 event-periods (some 100,000 events a day) doubles round in the last
# bit, which may cost or give one event of a burst.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limit, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local capacity = limit * period
local level, turned_back = 0, false
local stored = redis.call('GET', KEYS[1])
if stored then
  local kept, at = string.match(stored, '^(%d+):(%d+)$')
  level = tonumber(kept)
  at = tonumber(at)
  if now > at then level = math.max(0, level - (now - at) * limit) end
  level = math.min(level, capacity)
  turned_back = now < at
end
local filled = level + period
if filled > capacity then
  if turned_back then
    redis.call('SET', KEYS[1], string.format('%.0f:%.0f', level, now), 'KEEPTTL')
  end
  return {0, 0, math.ceil(level / limit), math.ceil((filled - capacity) / limit)}
end
local reset = math.ceil(filled / limit)
redis.call('SET', KEYS[1], string.format('%.0f:%.0f', filled, now), 'PX', string.format('%.0f', reset / 1000 + 1))
return {1, math.floor((capacity - filled) / period), reset, 0}
"""

# KEYS[1] is a hash: 's' spent, 'h' held, 'r' .. reservation -> state ('h' held, 'e' expired), amount ':' ttl in µs.
# KEYS[2] is a sorted set of the reservations by the microsecond at which they fall due.
_BUDGET = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function whole(number) return string.format('%.0f', number) end
local function expire()
  local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(now), 'LIMIT', 0, 200)
  for _, id in ipairs(due) do
    local hold = redis.call('HGET', KEYS[1], 'r' .. id)
    local state, amount, ttl
    if hold then state, amount, ttl = string.match(hold, '^(%a)(%d+):(%d+)$') end
    if state == 'h' then
      redis.call('HINCRBY', KEYS[1], 's', amount)
      redis.call('HINCRBY', KEYS[1], 'h', '-' .. amount)
      redis.call('HSET', KEYS[1], 'r' .. id, 'e' .. amount .. ':' .. ttl)
      redis.call('ZADD', KEYS[2], whole(now + ttl), id)
    else
      redis.call('HDEL', KEYS[1], 'r' .. id)
      redis.call('ZREM', KEYS[2], id)
    end
  end
  return #due
end
"""

_RESERVE = (
    _BUDGET
    + """
expire()
local known = redis.call('HMGET', KEYS[1], 's', 'h', 'r' .. ARGV[1])
if not known[1] then return {2, 0} end
local amount, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local free = limit - known[1] - known[2]
if known[3] then return {1, math.max(0, free)} end
if amount > free then return {0, math.max(0, free)} end
redis.call('HINCRBY', KEYS[1], 'h', ARGV[2])
redis.call('HSET', KEYS[1], 'r' .. ARGV[1], 'h' .. ARGV[2] .. ':' .. ARGV[4])
redis.call('ZADD', KEYS[2], whole(now + ARGV[4]), ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left > 0 then redis.call('PEXPIRE', KEYS[2], whole(left)) end
return {1, free - amount}
"""
)

_SETTLE = (
    _BUDGET
    + """
expire()
local hold = redis.call('HGET', KEYS[1], 'r' .. ARGV[1])
if not hold then return 0 end
local state, held = string.match(hold, '^(%a)(%d+):')
redis.call('HDEL', KEYS[1], 'r' .. ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if state == 'h' then
  redis.call('HINCRBY', KEYS[1], 'h', '-' .. held)
  redis.call('HINCRBY', KEYS[1], 's', ARGV[2])
else
  redis.call('HINCRBY', KEYS[1], 's', whole(ARGV[2] - held))
end
return 1
"""
)

_SEED = """
if redis.call('HSETNX', KEYS[1], 's', ARGV[1]) == 1 then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'h', '0')
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
"""

_SPENT = (
    _BUDGET
    + """
repeat until expire() == 0
return redis.call('HGET', KEYS[1], 's')
"""
)


class RedisCounters:
    """An adapter of :class:`~auterity.engines.counters.port.Counters` over the valkey-glide client.

    It connects at the first step, and again whenever it must. Every step ends within about half a second: with its
    answer, or with :class:`~auterity.engines.counters.port.CountersUnavailable`. Of a step that ended so nobody can say
    whether it was done; that is why reservations have names, and why one that is never settled is spent.
    """

    def __init__(self, address: RedisAddress, prefix: str = "auterity", *, patience_s: float = 0.5) -> None:
        """
        Args:
            address: the server, or some nodes of the Cluster.
            prefix: of all keys.
            patience_s: the last word on how long a step may take, whatever the client does meanwhile; the client's own
                limits lie below it.
        """
        self._patience_s = patience_s
        self._connect_ms = round(patience_s * 600)
        self._request_ms = round(patience_s * 800)
        self._address = address
        self._prefix = prefix
        self._client: _Client | None = None
        self._connecting: asyncio.Task[_Client] | None = None
        self._take = glide.Script(_TAKE)
        self._reserve = glide.Script(_RESERVE)
        self._settle = glide.Script(_SETTLE)
        self._seed = glide.Script(_SEED)
        self._spent = glide.Script(_SPENT)

    async def take(self, key: str, rate: Rate) -> RateDecision:
        if rate.limit <= 0:
            return RateDecision(False, 0, float(rate.period_s), float(rate.period_s))
        period_us = rate.period_s * 1_000_000
        if rate.limit * period_us > MAX_CAPACITY:
            raise AmountOutOfRange(f"A rate of {rate.limit} in {rate.period_s} seconds is too large to be kept.")
        answer = await self._run(self._take, [f"{self._prefix}:rate:{key}"], [str(rate.limit), str(period_us)])
        allowed, remaining, reset_us, retry_us = cast("list[int]", answer)
        return RateDecision(allowed == 1, remaining, reset_us / 1e6, retry_us / 1e6)

    async def reserve(self, budget: str, reservation: str, amount: int, limit: int, ttl_s: int) -> ReservationDecision:
        check_amount(amount, limit)
        answer = await self._run(
            self._reserve, self._keys(budget), [reservation, str(amount), str(limit), str(ttl_s * 1_000_000)]
        )
        status, available = cast("list[int]", answer)
        return ReservationDecision(_STATUSES[status], available)

    async def settle(self, budget: str, reservation: str, amount: int) -> None:
        check_amount(amount)
        await self._run(self._settle, self._keys(budget), [reservation, str(amount)])

    async def seed(self, budget: str, spent: int, ttl_s: int) -> None:
        check_amount(spent)
        await self._run(self._seed, self._keys(budget), [str(spent), str(ttl_s * 1000)])

    async def spent(self, budget: str) -> int | None:
        answer = await self._run(self._spent, self._keys(budget), [])
        return None if answer is None else int(cast("bytes", answer))

    async def ping(self) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                client = self._client or await self._connected()
                await client.ping()
        except (glide.GlideError, TimeoutError) as error:
            raise _away() from error

    async def close(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait([connecting])
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _keys(self, budget: str) -> list[str]:
        # The tag begins with a letter of our own, so that no budget's name can make it empty (an empty tag is none).
        tag = f"{self._prefix}:{{b{budget}}}"
        return [tag + ":state", tag + ":due"]

    async def _run(self, script: glide.Script, keys: list[str], arguments: list[str]) -> object:
        """Run a script; the client loads it where the server does not know it (yet, or any more)."""
        try:
            async with asyncio.timeout(self._patience_s):
                client = self._client or await self._connected()
                return await client.invoke_script(script, keys, arguments)
        except (glide.GlideError, TimeoutError) as error:
            raise _away() from error

    async def _connected(self) -> _Client:
        """Wait for the one attempt that all callers share; it goes on if this caller gives up."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(_consume)
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> _Client:
        # Lazy, because otherwise the client connects inside its constructor and blocks the event loop meanwhile.
        clustered = self._address.cluster
        if clustered is None:
            clustered = await self._is_cluster()
        if clustered:
            client = cast("_Client", await glide.GlideClusterClient.create(self._cluster()))
        else:
            client = cast("_Client", await glide.GlideClient.create(self._single(self._address.nodes)))
        self._client = client
        return client

    async def _is_cluster(self) -> bool:
        """Ask the first node that answers."""
        failure: glide.GlideError | None = None
        for node in self._address.nodes:
            client = cast("_Client", await glide.GlideClient.create(self._single((node,))))
            try:
                answer = await client.custom_command(["INFO", "cluster"])
                return b"cluster_enabled:1" in cast("bytes", answer)
            except glide.GlideError as error:
                failure = error
            finally:
                await client.close()
        raise failure or _away()

    def _single(self, nodes: tuple[tuple[str, int], ...]) -> glide.GlideClientConfiguration:
        return glide.GlideClientConfiguration(
            [glide.NodeAddress(host, port) for host, port in nodes],
            use_tls=self._address.tls,
            credentials=self._credentials(),
            database_id=self._address.database,
            request_timeout=self._request_ms,
            reconnect_strategy=_RECONNECT,
            inflight_requests_limit=_IN_FLIGHT,
            lazy_connect=True,
            client_name="auterity",
            advanced_config=glide.AdvancedGlideClientConfiguration(self._connect_ms, self._tls()),
        )

    def _cluster(self) -> glide.GlideClusterClientConfiguration:
        return glide.GlideClusterClientConfiguration(
            [glide.NodeAddress(host, port) for host, port in self._address.nodes],
            use_tls=self._address.tls,
            credentials=self._credentials(),
            request_timeout=self._request_ms,
            reconnect_strategy=_RECONNECT,
            inflight_requests_limit=_IN_FLIGHT,
            lazy_connect=True,
            client_name="auterity",
            advanced_config=glide.AdvancedGlideClusterClientConfiguration(self._connect_ms, self._tls()),
        )

    def _credentials(self) -> glide.ServerCredentials | None:
        if self._address.password is None:
            return None
        return glide.ServerCredentials(self._address.password, self._address.username)

    def _tls(self) -> glide.TlsAdvancedConfiguration | None:
        if self._address.ca_file is None:
            return None
        return glide.TlsAdvancedConfiguration(root_pem_cacerts=self._address.ca_file.read_bytes())


# A tenth of a second at first, at most some two seconds between attempts; it never gives up.
_RECONNECT = glide.BackoffStrategy(num_of_retries=4, factor=100, exponent_base=2)

# The client writes its own log lines to stderr, in its own format and with addresses; errors reach us as exceptions.
glide.Logger.set_logger_config(glide.LogLevel.OFF)


def _away() -> CountersUnavailable:
    return CountersUnavailable(
        "The shared counters (Redis) do not answer; try again in a moment.",
        retry_after=1.0,
    )


def _consume(task: "asyncio.Task[_Client]") -> None:
    """Look at the outcome, so that an attempt nobody waits for any more is not reported as forgotten."""
    if not task.cancelled():
        task.exception()
