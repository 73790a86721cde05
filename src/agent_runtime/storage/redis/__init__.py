"""Redis: signals between processes, what has changed, a cache of jobs, and a store of actions."""

from agent_runtime.storage.redis.actions import RedisActionStore
from agent_runtime.storage.redis.change_notifier import RedisChangeNotifier
from agent_runtime.storage.redis.job_cache import RedisJobCache
from agent_runtime.storage.redis.signals import RedisSignalChannel

__all__ = ["RedisActionStore", "RedisChangeNotifier", "RedisJobCache", "RedisSignalChannel"]
