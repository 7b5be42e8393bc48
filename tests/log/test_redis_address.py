"""The URL of a log on Redis."""

from __future__ import annotations

import pytest

from tidewire.log.redis_address import is_redis, parse_address, without_secrets


def test_a_host_is_enough() -> None:
    address = parse_address("redis://example")
    assert (address.kind, address.tls, address.hosts) == ("server", False, (("example", 6379),))
    assert (address.user, address.password, address.database) == ("", "", 0)
    assert (address.prefix, address.replicas) == ("tidewire", 0)


def test_all_of_a_server() -> None:
    address = parse_address("redis://me:p%40ss%2Fw:d@[::1]:7000/3?prefix=chat.log&replicas=2")
    assert address.hosts == (("::1", 7000),)
    assert (address.user, address.password, address.database) == ("me", "p@ss/w:d", 3)
    assert (address.prefix, address.replicas) == ("chat.log", 2)


def test_a_password_alone() -> None:
    address = parse_address("redis://:secret@localhost:6380")
    assert (address.user, address.password) == ("", "secret")


def test_encrypted() -> None:
    address = parse_address("rediss://h/0?ca=/etc/ca.pem&certificate=c.pem&key=k.pem")
    assert address.tls
    assert (address.ca, address.certificate, address.key) == ("/etc/ca.pem", "c.pem", "k.pem")
    assert parse_address("rediss+cluster://a,b").tls


def test_a_unix_socket() -> None:
    address = parse_address("redis+unix://:pw@/run/redis.sock?database=2")
    assert (address.kind, address.path, address.database) == ("unix", "/run/redis.sock", 2)
    assert (address.hosts, address.password) == ((), "pw")


def test_sentinels() -> None:
    address = parse_address(
        "redis+sentinel://u:p@a:1,b,c:3/4?master=main&sentinel_user=su&sentinel_password=sp"
    )
    assert address.hosts == (("a", 1), ("b", 26379), ("c", 3))
    assert (address.master, address.database) == ("main", 4)
    assert (address.sentinel_user, address.sentinel_password) == ("su", "sp")


def test_a_cluster() -> None:
    address = parse_address("redis+cluster://10.0.0.1:7000,10.0.0.2:7001")
    assert (address.kind, address.hosts) == (
        "cluster", (("10.0.0.1", 7000), ("10.0.0.2", 7001)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis:/h", "names no log on Redis"),
        ("redis+other://h", "redis+sentinel"),
        ("redis://", "no HOST"),
        ("redis://h:x", "no HOST"),
        ("redis://::1", "IPv6"),
        ("redis://h:0", "between 1 and 65535"),
        ("redis://h:70000", "between 1 and 65535"),
        ("redis://a,b", "takes one server"),
        ("redis://h/x", "the database is a whole number"),
        ("redis://h/1?database=1", "twice"),
        ("redis://h?prefix=a&prefix=b", "twice"),
        ("redis://h?prefix=", "prefix is 1 to 64"),
        ("redis://h?prefix=a}b", "prefix is 1 to 64"),
        ("redis://h?replicas=-1", "replicas is a whole number"),
        ("redis://h?replicas=999", "from 0 to 100"),
        ("redis://h?replica=1", "here may stand prefix, replicas, partitions or database"),
        ("redis://h?master=m", "not known"),
        ("redis://h?ca=x", "not known"),
        ("redis://h?prefix", "NAME=VALUE"),
        ("redis://:pass/word@h", "percent-encoded"),
        ("rediss://h?key=k", "together"),
        ("redis+sentinel://h", "add ?master=NAME"),
        ("redis+cluster://h/1", "no databases"),
        ("redis+cluster://h?database=1", "not known"),
        ("redis+unix://h/run/redis.sock", "without a host"),
        ("redis+unix://", "redis+unix:///PATH"),
        ("rediss+unix:///s", "not encrypted"),
    ],
)
def test_what_is_wrong_is_said(url: str, told: str) -> None:
    with pytest.raises(ValueError, match="^.*" + told.replace("?", r"\?").replace("+", r"\+")):
        parse_address(url)


def test_secrets_are_not_shown() -> None:
    url = "redis+sentinel://me:geheim@h/0?master=m&sentinel_password=verborgen&prefix=p"
    address = parse_address(url)
    for text in (str(address), repr(address), without_secrets(url)):
        assert "geheim" not in text
        assert "verborgen" not in text
        assert "h/0?master=m" in text
        assert "prefix=p" in text
    with pytest.raises(ValueError, match="names no log") as caught:
        parse_address("redis+x://:geheim@h")
    assert "geheim" not in str(caught.value)
    assert without_secrets("redis://u:ge/heim@h/1") == "redis://***@h/1"
    assert without_secrets("sqlite:///a@b.db") == "sqlite:///a@b.db"


@pytest.mark.parametrize("url", ["redis:x", "redis://h", "rediss://h", "redis+x://", "rediss+y:"])
def test_what_is_meant_for_redis(url: str) -> None:
    assert is_redis(url)
    assert not is_redis(url.removeprefix("r"))
