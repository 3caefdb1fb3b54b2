"""Redis URLs: what each form means, what is refused, and that no password ever shows."""

from __future__ import annotations

import pytest

from backchannel.bus.target import Address, RedisTarget, redis_target
from backchannel.settings import ConfigurationError

ONE = Address("h", 6379)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://h", RedisTarget(kind="single", addresses=(ONE,))),
        ("redis://h:7000/3", RedisTarget(kind="single", addresses=(Address("h", 7000),), db=3)),
        ("redis://h?db=4", RedisTarget(kind="single", addresses=(ONE,), db=4)),
        ("redis://[::1]:7000", RedisTarget(kind="single", addresses=(Address("::1", 7000),))),
        ("redis://:p%40ss@h", RedisTarget(kind="single", addresses=(ONE,), password="p@ss")),
        ("redis://u:p@h", RedisTarget(kind="single", addresses=(ONE,), user="u", password="p")),
        (
            "rediss://h?ca=/c.pem&cert=/me.pem&key=/me.key",
            RedisTarget(kind="single", addresses=(ONE,), tls=True, ca="/c.pem", cert="/me.pem", key="/me.key"),
        ),
        ("unix:///run/redis.sock?db=2", RedisTarget(kind="single", addresses=(Address(path="/run/redis.sock"),), db=2)),
        (
            "unix://u:p@/run/redis.sock",
            RedisTarget(kind="single", addresses=(Address(path="/run/redis.sock"),), user="u", password="p"),
        ),
        (
            "redis+sentinel://u:p@a:1,b/main/5?sentinel_user=s&sentinel_password=q",
            RedisTarget(
                kind="sentinel",
                addresses=(Address("a", 1), Address("b", 26379)),
                service="main",
                db=5,
                user="u",
                password="p",
                sentinel_user="s",
                sentinel_password="q",
            ),
        ),
        (
            "rediss+cluster://u:p@a:1,b,[::1]:3?ca=/c.pem",
            RedisTarget(
                kind="cluster",
                addresses=(Address("a", 1), Address("b", 6379), Address("::1", 3)),
                user="u",
                password="p",
                tls=True,
                ca="/c.pem",
            ),
        ),
    ],
)
def test_every_form_means_what_is_documented(url: str, target: RedisTarget) -> None:
    """Each documented form of URL is understood, with its defaults and percent-encoding."""
    assert redis_target(url) == target


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("localhost:6379", "redis://"),
        ("http://h", "redis://"),
        ("redis://", "names no host"),
        ("redis://h:port", "numbers"),
        ("redis://h/main", "number"),
        ("redis://h?ca=/c.pem", "takes db"),
        ("redis://h?timeout=3", "timeout"),
        ("rediss://h?key=/me.key", r"\?cert="),
        ("redis+sentinel://h:1", "mymaster"),
        ("redis+sentinel://h:1/main/x", "number"),
        ("redis+sentinel:///main", "at least one host"),
        ("redis+cluster://h/1", "one database"),
        ("unix://", "names no host"),
    ],
)
def test_a_url_that_cannot_serve_is_refused_with_the_cure(url: str, cure: str) -> None:
    """What is no such URL is a configuration error that says what to write instead."""
    with pytest.raises(ConfigurationError, match=cure):
        redis_target(url)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://u:secret@h:7000/3", "redis://u:***@h:7000/3"),
        ("rediss://:secret@h?ca=/c.pem", "rediss://:***@h:6379?ca=/c.pem"),
        ("unix://u:secret@/run/redis.sock?db=1", "unix://u:***@/run/redis.sock?db=1"),
        (
            "redis+sentinel://u:secret@a:1,b:2/main/5?sentinel_password=secret",
            "redis+sentinel://u:***@a:1,b:2/main/5?sentinel_password=***",
        ),
        ("redis+cluster://u:secret@a:1,[::1]:2", "redis+cluster://u:***@a:1,[::1]:2"),
    ],
)
def test_passwords_are_masked_wherever_a_target_is_shown(url: str, masked: str) -> None:
    """`masked`, `str` and `repr` tell everything but the passwords."""
    target = redis_target(url)
    assert target.masked == masked
    assert str(target) == masked
    assert "secret" not in repr(target)


@pytest.mark.parametrize("url", ["redis://u:secret@h:port", "redis://u:secret@h/x", "redis://u:secret@", "secret"])
def test_no_error_shows_a_password(url: str) -> None:
    """A URL that cannot be read is not quoted, nor is it the error's cause."""
    with pytest.raises(ConfigurationError) as caught:
        redis_target(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_for_tls_that_is_not_there_is_named(tmp_path: object) -> None:
    """A missing CA file is a configuration error that names the file."""
    with pytest.raises(ConfigurationError, match=r"absent\.pem"):
        redis_target(f"rediss://h?ca={tmp_path}/absent.pem").tls_context()
