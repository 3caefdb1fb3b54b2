"""Key slots of Redis Cluster, and the keys that share one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot as reference

from backchannel.bus import Bus, redis_target
from backchannel.bus.slots import key_slot
from backchannel.settings import ConfigurationError


@pytest.mark.parametrize(
    "key", [b"", b"a", b"{a}b", b"x{a}y", b"{}a", b"a{}{b}", b"{{a}}", b"{a", b"a}", b"}{a}", b"\xff{\x00}"]
)
def test_slots_are_redis_py_s(key: bytes) -> None:
    """Hash tags in every odd form lead to the slot that redis-py computes."""
    assert key_slot(key) == reference(key)


@given(st.lists(st.sampled_from([b"{", b"}", b"a", b"\x00", b"name"])).map(b"".join) | st.binary())
def test_slots_of_any_key_are_redis_py_s(key: bytes) -> None:
    """Any bytes lead to the slot that redis-py computes."""
    assert key_slot(key) == reference(key)


@given(st.text(min_size=1), st.text(min_size=1))
def test_all_keys_of_a_name_share_a_slot_and_no_two_names_a_key(name: str, other: str) -> None:
    """Whatever characters a name has, its kinds of key lie together, and another name's key is another key."""
    bus = Bus(redis_target("redis://h"))
    assert key_slot(bus.key("log", name)) == key_slot(bus.key("head", name))
    assert (bus.key("log", name) == bus.key("log", other)) == (name == other)


def test_keys_begin_with_prefix_and_app() -> None:
    """`prefix:app:kind:{name}`, and without braces where the key is about no name."""
    bus = Bus(redis_target("redis://h"), prefix="p", app="shop")
    assert bus.key("log", "chat:lobby") == b"p:shop:log:{chat:lobby}"
    assert bus.key("workers") == b"p:shop:workers"


@pytest.mark.parametrize("name", ["", "a b", "a{b}", "a:b", "ä", "x" * 65])
def test_prefix_and_app_are_plain(name: str) -> None:
    """What would break hash tags, ACL patterns or the parting of apps cannot begin keys."""
    with pytest.raises(ConfigurationError, match="prefix"):
        Bus(redis_target("redis://h"), prefix=name)
    with pytest.raises(ConfigurationError, match="app"):
        Bus(redis_target("redis://h"), app=name)
