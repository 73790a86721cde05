"""Redis: signals between processes, announcements, a cache of jobs, and a store of actions."""

from agent_runtime.storage.redis.actions import RedisActionStore
from agent_runtime.storage.redis.announcements import RedisAnnouncements
from agent_runtime.storage.redis.job_cache import RedisJobCache
from agent_runtime.storage.redis.signals import RedisSignalChannel

__all__ = ["RedisActionStore", "RedisAnnouncements", "RedisJobCache", "RedisSignalChannel"]
