"""The bus: all of one process's traffic with Redis. The relay, the broker and nothing else stand on it."""

from .bus import Bus
from .connection import Word
from .errors import RedisReplyError
from .script import Script
from .target import RedisTarget, redis_target

__all__ = ["Bus", "RedisReplyError", "RedisTarget", "Script", "Word", "redis_target"]
