"""A cache of job records in Redis, in front of a store that stays the truth.

An entry is written only by somebody who missed it: the miss gives a lease, the record is read from the primary store,
and the entry is accepted only while the lease lasts. Every change deletes entry and lease, so that what was read before
the change cannot be written after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from agent_runtime.errors import ContentTooLarge, ResultNotSerializable, StorageError
from agent_runtime.jobs.store import JobStore
from agent_runtime.ports.ids import new_id
from agent_runtime.storage import rows
from agent_runtime.storage.redis.invalidations import Invalidations
from agent_runtime.storage.redis.server import Server
from agent_runtime.storage.redis.text import as_text, to_json
from agent_runtime.values.job import JobRecord
from llm_client.logs import logger_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logger_of(__name__)

MAX_ENTRY: Final = 256 * 1024
"""Bytes of JSON; longer records are not kept."""
LEASE_SECONDS: Final = 10.0
"""How long a record may take from the primary store to the cache."""
PATIENCE: Final = 0.5
"""Seconds to wait for Redis before the primary store is asked."""
REST_SECONDS: Final = 1.0
"""How long Redis is left alone after it has failed."""

_LOOK: Final = """
local entry = redis.call('HMGET', KEYS[1], 'epoch', 'record')
local epoch = redis.call('GET', KEYS[3])
if not epoch then
  epoch = ARGV[1]
  redis.call('SET', KEYS[3], epoch)
end
if entry[1] == epoch then
  return {entry[2], ''}
end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return {'', epoch}
end
return {'', ''}
"""
_FILL: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
if redis.call('GET', KEYS[3]) ~= ARGV[2] then
  return 0
end
local there = redis.call('HMGET', KEYS[1], 'epoch', 'fence', 'seq')
if there[1] == ARGV[2] then
  local fence, seq = tonumber(there[2]), tonumber(there[3])
  if fence > tonumber(ARGV[3]) or seq > tonumber(ARGV[4]) then
    return 0
  end
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'fence', ARGV[3], 'seq', ARGV[4], 'record', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1
"""


class _Look(NamedTuple):
    """What a look into the cache has given."""

    record: JobRecord | None
    token: str = ""
    epoch: str = ""
    """Of a lease to fill the entry; empty when somebody else has it."""


class RedisJobCache:
    """Job records, read through Redis.

    In the process that writes, a record is never older than its last commit. Elsewhere it is as old as the news of the
    change takes, and when news get lost, at most `ttl_seconds`. Decide nothing by it: transitions are compare-and-set
    against the primary store. `owner` may name a worker that is gone, and a pruned job may still be seen.

    Use it as `async with RedisJobCache(client, store) as cache:`.

    Args:
        client: The caller's, who closes it.
        primary_store: The truth; its storage is listened to, so it has to be opened.
        key_prefix: Begins every key; one per database.
        ttl_seconds: How long an entry is kept.
    """

    def __init__(
        self,
        client: Redis,
        primary_store: JobStore,
        key_prefix: str = "agent:job",
        ttl_seconds: float = 300,
    ) -> None:
        self._storage = primary_store.storage
        self._ttl_ms = max(1, round(ttl_seconds * 1000))
        self._server = Server(client)
        prefix = "{" + key_prefix + "}"
        self._epoch_key = f"{prefix}:epoch"
        self._invalidations = Invalidations(self._server, prefix=prefix, epoch_key=self._epoch_key)
        self._look_script = client.register_script(_LOOK)
        self._fill_script = client.register_script(_FILL)
        self._started = False
        self._rests_until = 0.0
        self.hits = 0
        """Reads that Redis has answered."""
        self.misses = 0
        """Reads that went to the primary store."""

    def start(self) -> None:
        """Begin to listen to the primary store. Idempotent; reading starts it too."""
        if not self._started:
            self._started = True
            self._storage.listen(self._invalidations)
            self._invalidations.start()

    async def stop(self) -> None:
        """Listen no longer. Idempotent."""
        if self._started:
            self._started = False
            self._storage.unlisten(self._invalidations)
            await self._invalidations.stop()

    async def __aenter__(self) -> RedisJobCache:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def get(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return a job, or `None`; a given `scope_id` hides other scopes' jobs.

        Raises:
            StorageError: The primary store cannot be read. A Redis that is away is no error.
        """
        self.start()
        look = await self._look(job_id)
        job = look.record
        if job is not None:
            self.hits += 1
        else:
            self.misses += 1
            job = await self._storage.get_job(job_id)
            if job is not None and look.epoch:
                await self._fill(job, look)
        return job if job is not None and scope_id in (None, job.scope_id) else None

    async def invalidate(self, job_id: str) -> None:
        """Delete a job's entry, for changes that are no commits: the next reader asks the primary store.

        Raises:
            StorageError: Redis cannot be reached now. This process does not trust the entry until it is deleted.
        """
        self.start()
        self._invalidations.add(job_id)
        await self._invalidations.flush()

    async def warm(self, job_ids: Iterable[str]) -> None:
        """Read jobs that will be asked for soon."""
        for job_id in job_ids:
            await self.get(job_id)

    def _is_usable(self, job_id: str) -> bool:
        rests = asyncio.get_running_loop().time() < self._rests_until
        return not rests and not self._invalidations.distrusts(job_id)

    def _failed(self, error: StorageError) -> None:
        logger.debug("the job cache cannot be used now: %s", error)
        self._rests_until = asyncio.get_running_loop().time() + REST_SECONDS

    async def _look(self, job_id: str) -> _Look:
        """Look for an entry, and ask for the lease to fill it where there is none."""
        if not self._is_usable(job_id):
            return _Look(None)
        token = new_id("lease")
        keys = [*self._invalidations.entry_keys(job_id), self._epoch_key]
        try:
            record, epoch = await self._server.answered(
                lambda _: self._look_script(keys=keys, args=[token, int(LEASE_SECONDS * 1000)]),
                seconds=PATIENCE,
            )
        except StorageError as error:
            self._failed(error)
            return _Look(None)
        if not record:
            return _Look(None, token, as_text(epoch))
        job = _record(as_text(record))
        if job is None or job.job_id != job_id:
            self._invalidations.add(job_id)
            return _Look(None)
        return _Look(job)

    async def _fill(self, job: JobRecord, look: _Look) -> None:
        """Write an entry, if nothing has changed since the look."""
        if not self._is_usable(job.job_id):
            return
        try:
            text = to_json(_values(job), limit=MAX_ENTRY)
        except (ContentTooLarge, ResultNotSerializable):
            return
        keys = [*self._invalidations.entry_keys(job.job_id), self._epoch_key]
        arguments: list[str | int] = [look.token, look.epoch, job.fence, job.last_seq, text, self._ttl_ms]
        try:
            await self._server.answered(
                lambda _: self._fill_script(keys=keys, args=arguments), seconds=PATIENCE
            )
        except StorageError as error:
            self._failed(error)


def _values(job: JobRecord) -> dict[str, Any]:
    values: dict[str, Any] = dict(zip(rows.JOB, rows.job_row(job), strict=True))
    return {
        name: value.isoformat() if rows.JOB[name] == "time" and value is not None else value
        for name, value in values.items()
    }


def _record(text: str) -> JobRecord | None:
    """Return the job of an entry; `None` for one that another version of this program, or somebody else, has written."""
    if len(text) > MAX_ENTRY:
        return None
    try:
        values = orjson.loads(text)
        return rows.job_record(
            [
                datetime.fromisoformat(values[name])
                if kind == "time" and values[name] is not None
                else values[name]
                for name, kind in rows.JOB.items()
            ]
        )
    except (ValueError, TypeError, KeyError):
        return None
