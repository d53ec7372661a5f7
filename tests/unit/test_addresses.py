"""URLs of servers, clusters and sentinels: what they say, and what is refused."""

from __future__ import annotations

import pytest

from stoker.core.settings.addresses import Servers, check_redis_url, without_login
from stoker.core.settings.redaction import redact_url


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "first"),
    [
        ("redis://h:7000/2", "server", (), None),
        (
            "redis+cluster://h1:7000,h2",
            "cluster",
            (("h1", 7000), ("h2", 6379)),
            "redis://h1:7000",
        ),
        (
            "valkeys+cluster://u:p%2F@[::1]:7000,h2:7001/0?ssl_ca_certs=/ca.pem",
            "cluster",
            (("::1", 7000), ("h2", 7001)),
            "rediss://u:p%2F@[::1]:7000?ssl_ca_certs=%2Fca.pem",
        ),
        (
            "redis+sentinel://:pw@h1,h2:26380/main/3?sentinel_password=x%2F&client_name=shop",
            "sentinel",
            (("h1", 26379), ("h2", 26380)),
            "redis://:pw@h1:26379/3?client_name=shop",
        ),
    ],
)
def test_a_url_says_where_servers_are(
    url: str, kind: str, hosts: tuple[tuple[str, int], ...], first: str | None
) -> None:
    servers = Servers.of(check_redis_url(url))
    assert (servers.kind, servers.hosts) == (kind, hosts)
    if first is not None:
        assert servers.at(*servers.hosts[0]) == first


def test_sentinels_have_a_name_for_the_server_and_passwords_of_their_own() -> None:
    url = "rediss+sentinel://:pw@h/main?sentinel_username=s&sentinel_password=x%2F&ssl_ca_certs=ca"
    servers = Servers.of(check_redis_url(url))
    assert servers.service == "main"
    assert servers.sentinel_at("h", 26379) == "rediss://s:x%2F@h:26379?ssl_ca_certs=ca"
    assert Servers.of(check_redis_url("redis+sentinel://:pw@h/main")).sentinel_at("h", 1) == "redis://h:1"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis+cluster://h:1/2", "a cluster has the database 0 alone"),
        ("redis+cluster://h:1?db=2", "'db' can't be set"),
        ("redis+cluster://h:1,", "name hosts and ports with commas between"),
        ("redis+cluster://h:0", "name hosts and ports"),
        ("redis+cluster://h:x", "is no URL: write redis"),
        ("redis+cluster://u:hunter2@h1,v:hunter2@h2", "name hosts and ports"),
        ("redis+cluster://u:hun/ter2@h1,h2", "is no URL"),
        ("redis+cluster://h:1?sentinel_password=hunter2", "'sentinel_password' can't be set"),
        ("redis+sentinel://h:1", "what they call the server"),
        ("redis+sentinel://h:1/main/x", "what they call the server"),
        ("redis+sentinel://h:1/main?timeout=1", "'timeout' can't be set"),
        ("unix:///s?db=x", "'db' is a number"),
        ("unix:///s?db=", "'db' is a number"),
        ("unix:///s?db=3&db=4", "'db' is there twice: leave one"),
        ("redis://h?password=hunter2&password=hunter2", "'password' is there twice"),
        ("redis+sentinel://h:1/main?db=-1", "'db' is a number"),
        ("rediss://h?ssl_cert_reqs=never", "'ssl_cert_reqs' is none, optional or required"),
        ("rediss+cluster://h?ssl_check_hostname=off", "'ssl_check_hostname' is true or false"),
        ("redis://h?ssl_keyfile_password=hunter2", "'ssl_keyfile_password' is for TLS: write rediss://"),
        ("unix:///s?ssl_ca_certs=x", "'ssl_ca_certs' is for TLS"),
        ("unix+cluster:///x", "is no URL of a kind that is known here"),
    ],
)
def test_what_is_refused_is_told_without_passwords(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as told:
        check_redis_url(url)
    assert reason in str(told.value)
    assert "hunter2" not in str(told.value)
    assert "ter2" not in str(told.value)


def test_no_password_of_a_server_or_sentinel_is_shown() -> None:
    url = "redis+sentinel://user:hunter2@h1:1,h2:2/main/0?sentinel_password=hunter3"
    assert redact_url(url) == "redis+sentinel://user:***@h1:1,h2:2/main/0?sentinel_password=***"


@pytest.mark.parametrize(
    "url",
    [
        "unix:///s?db=3&password=",
        "rediss://h/0?ssl_cert_reqs=none&ssl_check_hostname=False&ssl_ca_certs=/ca",
        "rediss+sentinel://h/main?ssl_cert_reqs=required",
    ],
)
def test_parameters_that_clients_read_are_taken(url: str) -> None:
    assert check_redis_url(url) == url


SAME_PLACE = [
    ("redis://h:6379/0", "redis://h"),
    ("redis://h/", "redis://user:pw@H:6379/0"),
    ("redis://h", "rediss://:pw@h/0?ssl_cert_reqs=none"),
    ("redis://h/3", "redis://h/1?db=3&password=x"),
    ("redis://[::1]:6379/0", "redis://u:p@[::1]"),
    ("unix:///run/r.sock", "unix://u:p@/run/r.sock?db=0"),
    ("redis+cluster://a:1,b:2", "redis+cluster://u:p@b:2,a:1/0"),
    ("redis+sentinel://a,b/main", "redis+sentinel://u:p@b:26379,a:26379/main/0?sentinel_password=x"),
]
PLACES = [
    "redis://h",
    "redis://h/1",
    "redis://h:1",
    "redis://i",
    "unix:///h",
    "unix:///h?db=1",
    "redis+sentinel://h/main",
    "redis+sentinel://h/main/1",
    "redis+sentinel://h/other",
]


@pytest.mark.parametrize(("one", "other"), SAME_PLACE)
def test_who_logs_in_and_how_makes_no_other_place(one: str, other: str) -> None:
    assert without_login(check_redis_url(one)) == without_login(check_redis_url(other))


def test_servers_and_databases_are_places_of_their_own() -> None:
    assert len({without_login(check_redis_url(url)) for url in PLACES}) == len(PLACES)
