"""Addresses of servers in a configuration.

Of a single server, a URL says where it is. Of a cluster it names some servers, which know the others:
`redis+cluster://host:7000,host:7001`. Of a server that Sentinel looks after it names the sentinels, and what
they call the server: `redis+sentinel://host:26379,host:26380/mymaster/0`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from stoker.core.settings.redaction import redact_url

_REDIS_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}
_MANY = {
    f"{name}+{kind}": f"{scheme}+{kind}"
    for kind in ("cluster", "sentinel")
    for name, scheme in _REDIS_SCHEMES.items()
    if name != "unix"
}
_DEFAULT_PORTS = {"cluster": 6379, "sentinel": 26379}
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
_ANYTHING = re.compile(".*", re.DOTALL)
_VALUES = {
    "db": (re.compile(r"[0-9]{1,5}"), "a number"),
    "ssl_cert_reqs": (re.compile("none|optional|required"), "none, optional or required"),
    "ssl_check_hostname": (re.compile("(?i:true|false)"), "true or false"),
}
"""What some of them may be: with anything else no connection could be made."""
_SENTINEL_PARAMETERS = {"sentinel_username", "sentinel_password"}
_SERVICE = re.compile(r"[A-Za-z0-9._-]{1,255}")
_ESCAPE = "in a password write / @ # ? as %2F %40 %23 %3F"
_EXAMPLES = {"cluster": "host:7000,host:7001", "sentinel": "host:26379,host:26380/mymaster/0"}
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,253}")


@dataclass(frozen=True, slots=True)
class Servers:
    """Where servers are, by a URL that `check_redis_url` returned."""

    kind: Literal["server", "cluster", "sentinel"]
    url: str
    hosts: tuple[tuple[str, int], ...] = ()
    """Nodes of a cluster, or the sentinels."""
    service: str = ""
    """What the sentinels call the server."""

    @classmethod
    def of(cls, url: str) -> Servers:
        """Take a URL apart."""
        scheme, _, rest = url.partition("://")
        kind = scheme.partition("+")[2]
        if not kind:
            return cls("server", url)
        authority, path, _ = _divide(rest)
        service = unquote(path.strip("/").partition("/")[0]) if kind == "sentinel" else ""
        hosts = _hosts(authority.rpartition("@")[2], _DEFAULT_PORTS[kind])
        return cls(cast("Literal['cluster', 'sentinel']", kind), url, hosts, service)

    def at(self, host: str, port: int) -> str:
        """The URL of one server of the cluster, or of the one that the sentinels name."""
        scheme, _, rest = self.url.partition("://")
        authority, path, query = _divide(rest)
        user, at, _ = authority.rpartition("@")
        database = path.strip("/").partition("/")[2] if self.kind == "sentinel" else ""
        pairs = [
            pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in _SENTINEL_PARAMETERS
        ]
        return _join(scheme.partition("+")[0], user + at, host, port, database, pairs)

    def sentinel_at(self, host: str, port: int) -> str:
        """The URL of a sentinel: TLS as for the server, and a user of its own."""
        scheme, _, rest = self.url.partition("://")
        given = dict(parse_qsl(_divide(rest)[2], keep_blank_values=True))
        user, password = (given.get(f"sentinel_{name}", "") for name in ("username", "password"))
        pairs = [pair for pair in given.items() if pair[0].startswith("ssl_")]
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
        return _join(scheme.partition("+")[0], login, host, port, "", pairs)


def with_parts(
    url: str,
    *,
    host: str | None = None,
    port: int | None = None,
    db: int | None = None,
    username: str | None = None,
    password: str | None = None,
) -> str:
    """Return the URL of one server with these parts in place of its own; None leaves what is there.

    Raises:
        ValueError: The URL has no place for a part: of a cluster or sentinels, it itself names the hosts.
    """
    scheme, _, rest = url.partition("://")
    authority, path, query = _divide(rest)
    login, _, places = authority.rpartition("@")
    if (host, port) != (None, None):
        if "+" in scheme or scheme == "unix":
            raise ValueError(f"host and port don't go with {scheme}://: name all servers in redis.url")
        place = urlsplit(f"//{places}")
        named = place.hostname or "localhost" if host is None else host
        places = _place(named, (6379 if place.port is None else place.port) if port is None else port)
    pairs = parse_qsl(query, keep_blank_values=True)
    user, _, secret = login.partition(":")
    for name, value in (("username", username), ("password", password), ("db", db)):
        if value is not None:
            pairs = [pair for pair in pairs if pair[0] != name]
    user = user if username is None else quote(username, safe="")
    secret = secret if password is None else quote(password, safe="")
    if db is not None and scheme == "unix":
        pairs.append(("db", str(db)))
    elif db is not None:
        before = "/" + path.strip("/").partition("/")[0] if scheme.endswith("+sentinel") else ""
        path = f"{before}/{db}"
    login = f"{user}:{secret}" if secret else user
    return f"{scheme}://{login}{'@' if login else ''}{places}{path}{_query(pairs)}"


def without_login(url: str) -> str:
    """Return where the entries behind a URL are: its servers and the database, whoever logs in, and how.

    Servers that go by two names are two here.
    """
    scheme, _, rest = url.partition("://")
    authority, path, query = _divide(rest)
    kind = scheme.partition("+")[2]
    named = dict(parse_qsl(query)).get("db")
    if scheme == "unix":
        return f"{unquote(path)}/{int(named or 0)}"
    service, _, database = path.strip("/").rpartition("/")
    if kind == "sentinel" and not service:
        service, database = database, ""
    hosts = sorted(_hosts(authority.rpartition("@")[2], _DEFAULT_PORTS.get(kind, 6379)))
    places = ",".join(_place(host, port) for host, port in hosts)
    return f"{places}/{service}/{int(named or database or 0)}"


def with_parameter(url: str, name: str, value: str) -> str:
    """Return the URL with one more parameter behind its `?`."""
    return f"{url}{'&' if '?' in url else '?'}{name}={value}"


def _divide(rest: str) -> tuple[str, str, str]:
    """What stands before the path, the path, and what stands behind the `?`."""
    before, _, query = rest.partition("?")
    authority, slash, path = before.partition("/")
    return authority, slash + path, query


def _hosts(text: str, default_port: int) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for part in text.split(","):
        place = urlsplit(f"//{part}")
        found.append((place.hostname or "", default_port if place.port is None else place.port))
    return tuple(found)


def _join(scheme: str, login: str, host: str, port: int, database: str, pairs: list[tuple[str, str]]) -> str:
    path = f"/{database}" if database else ""
    return f"{scheme}://{login}{_place(host, port)}{path}{_query(pairs)}"


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _query(pairs: list[tuple[str, str]]) -> str:
    return f"?{urlencode(pairs)}" if pairs else ""


def check_redis_url(url: str) -> str:
    """Return the URL of a Redis or Valkey server in the form that clients read, else raise `ValueError`.

    `valkey://` becomes `redis://`. No message shows a password.
    """
    scheme = url.partition("://")[0]
    if scheme in _MANY:
        return _check_many(url, _MANY[scheme])
    parts, scheme = split_url(url, {**_REDIS_SCHEMES, **_MANY})
    _check_parameters(url, parts, _PARAMETERS, scheme)
    if scheme == "unix":
        if parts.hostname or not parts.path.startswith("/"):
            raise ValueError(f"{redact_url(url)!r} names no socket: write unix:///path/to/the.sock")
    else:
        check_host(url, parts)
        if not re.fullmatch(r"/?[0-9]{0,5}", parts.path):
            raise ValueError(f"{redact_url(url)!r}: the database is a number, as in redis://host:6379/0")
    return scheme + url[url.index("://") :]


def _check_many(url: str, scheme: str) -> str:
    """Check the URL of a cluster, or of a server behind sentinels."""
    kind = scheme.partition("+")[2]
    example = f"{scheme}://{_EXAMPLES[kind]}"
    authority, path, query = _divide(url.partition("://")[2])
    user, at, hosts = authority.rpartition("@")
    # All but the hosts is as it is in the URL of one server.
    parts, _ = split_url(f"redis://{user}{at}host{path}{'?' if query else ''}{query}", _REDIS_SCHEMES)
    allowed = _PARAMETERS - {"db"} if kind == "cluster" else _PARAMETERS | _SENTINEL_PARAMETERS
    _check_parameters(url, parts, allowed, scheme)
    try:
        found = _hosts(hosts, _DEFAULT_PORTS[kind])
    except ValueError:
        raise ValueError(f"{redact_url(url)!r} is no URL: write {example}") from None
    if "," in user or not all(_HOST.fullmatch(host) and port for host, port in found):
        raise ValueError(f"{redact_url(url)!r}: name hosts and ports with commas between, as in {example}")
    if kind == "cluster" and path not in {"", "/", "/0"}:
        raise ValueError(f"{redact_url(url)!r}: a cluster has the database 0 alone; write {example}")
    if kind == "sentinel":
        service, _, database = path.strip("/").partition("/")
        if not _SERVICE.fullmatch(service) or not re.fullmatch(r"[0-9]{0,5}", database):
            raise ValueError(
                f"{redact_url(url)!r}: after the sentinels comes what they call the server, as in {example}"
            )
    return scheme + url[url.index("://") :]


def _check_parameters(url: str, parts: SplitResult, allowed: set[str], scheme: str) -> None:
    if parts.fragment or "@" in parts.query:
        raise ValueError(f"{redact_url(url)!r}: {_ESCAPE}")
    seen = set[str]()
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        form, meant = _VALUES.get(name, (_ANYTHING, ""))
        wrong = ""
        if name not in allowed:
            wrong = f"can't be set in a URL; {', '.join(sorted(allowed))} can"
        elif name in seen:
            wrong = "is there twice: leave one"
        elif name.startswith("ssl_") and not scheme.startswith("rediss"):
            wrong = "is for TLS: write rediss://, or leave it out"
        elif not form.fullmatch(value):
            wrong = f"is {meant}"
        if wrong:
            raise ValueError(f"{redact_url(url)!r}: {name!r} {wrong}")
        seen.add(name)


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
