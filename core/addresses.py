"""Addresses of servers in a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from stoker.core.redaction import redact_url

_REDIS_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}
_PARAMETERS = {
    "db",
    "username",
    "password",
    "client_name",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_keyfile_password",
}
"""What may stand behind the `?`: others (time-outs, `protocol`) would change what our clients rely on."""
_ESCAPE = "in a password write / @ # ? as %2F %40 %23 %3F"
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,253}")


def check_redis_url(url: str) -> str:
    """Return the URL of a Redis or Valkey server in the form that clients read, else raise `ValueError`.

    `valkey://` becomes `redis://`. No message shows a password.
    """
    parts, scheme = split_url(url, _REDIS_SCHEMES)
    if parts.fragment or "@" in parts.query:
        raise ValueError(f"{redact_url(url)!r}: {_ESCAPE}")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _PARAMETERS:
            allowed = ", ".join(sorted(_PARAMETERS))
            raise ValueError(f"{redact_url(url)!r}: {name!r} can't be set in a URL; {allowed} can")
    if scheme == "unix":
        if parts.hostname or not parts.path.startswith("/"):
            raise ValueError(f"{redact_url(url)!r} names no socket: write unix:///path/to/the.sock")
    else:
        check_host(url, parts)
        if not re.fullmatch(r"/?[0-9]{0,5}", parts.path):
            raise ValueError(f"{redact_url(url)!r}: the database is a number, as in redis://host:6379/0")
    return scheme + url[url.index("://") :]


def split_url(
    url: str, schemes: Mapping[str, str], *, example: str = "redis://user:password@host:6379/0"
) -> tuple[SplitResult, str]:
    """Take a URL apart and return it with what `schemes` makes of its scheme; raise `ValueError`.

    The error shows `example` where the address can't be read at all.
    """
    allowed = ", ".join(f"{name}://" for name in schemes)
    if not url.isprintable() or " " in url:
        raise ValueError(f"a URL has no spaces or control characters; it begins with one of {allowed}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"{redact_url(url)!r} is no URL: write {example}") from None
    if "://" not in url or parts.scheme not in schemes:
        raise ValueError(f"{redact_url(url)!r} is no URL of a kind that is known here: {allowed}")
    if port == 0:
        raise ValueError(f"{redact_url(url)!r}: a port is 1 to 65535")
    return parts, schemes[parts.scheme]


def check_host(url: str, parts: SplitResult) -> None:
    """Raise `ValueError` if a URL that was taken apart names no host."""
    if not parts.hostname or not _HOST.fullmatch(parts.hostname):
        raise ValueError(f"{redact_url(url)!r} names no host; {_ESCAPE}")
