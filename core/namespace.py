"""What a view on a cache type, or on a namespace of it, calls its keys."""

from __future__ import annotations

from stoker.core.errors import UsageError
from stoker.core.keys import check_text, shown

#: Between a namespace and the keys in it.
SEPARATOR = ":"


def beginning_in(namespace: str) -> str:
    """Return what the keys in a namespace begin with."""
    return namespace + SEPARATOR if namespace else ""


class Namespaced:
    """Keys of one cache type, and of one namespace of it.

    Args:
        cache_type: The type.
        namespace: What its keys begin with, so that they are apart from others of the type.

    Raises:
        UsageError: The namespace is no text, or has a colon.
    """

    def __init__(self, cache_type: str, namespace: str) -> None:
        check_text("a namespace", namespace)
        if SEPARATOR in namespace:
            raise UsageError(f"{shown(namespace)} can't be a namespace: {SEPARATOR!r} ends it")
        self.cache_type = cache_type
        self.namespace = namespace
        self._begin = beginning_in(namespace)

    def key(self, key: str) -> str:
        """Return a key as the manager knows it.

        Key `1` of namespace `eu` is the entry of key `eu:1`.

        Raises:
            UsageError: It is no text.
        """
        try:
            return self._begin + key
        except TypeError:
            check_text("a key", key)
            raise
