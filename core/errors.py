"""The errors of Stoker: one small tree; every message says what happened and what to do.

Cache trouble (Redis slow, gone, full; bytes that don't decode) is no error to a caller of
[`CacheManager`][stoker.core.manager.CacheManager]: it is a miss, a metric and a log line.
"""


class StokerError(Exception):
    """The root of all errors that Stoker raises on purpose."""


class ConfigError(StokerError):
    """The configuration can't be used: the message names the file, the line and the field."""


class UsageError(StokerError, ValueError):
    """An argument no operation could make sense of: an unknown cache type, a tag too long."""


class UnknownLoaderError(StokerError, LookupError):
    """A recipe names a loader that no imported module registers."""


class EventError(StokerError, ValueError):
    """An invalidation event that can't be read; it belongs on the dead stream, with this message."""


class LinkError(StokerError):
    """The server can't be reached, or has not answered in time. Internal: callers see a miss."""


class ReplyError(StokerError):
    """The server answered a command with an error."""


class EntryError(StokerError):
    """Stored bytes that are no entry of a format this version reads. Internal: callers see a miss."""
