"""The high-level commands of the PyPI package meta-memcache; scripts/clients runs it against us and against memcached."""

import os

import pytest
from meta_memcache import CacheClient, Key, LeasePolicy, RecachePolicy, ServerAddress, SetMode, StalePolicy
from meta_memcache import connection_pool_factory_builder


@pytest.fixture
def cache():
    server = ServerAddress(host="127.0.0.1", port=int(os.environ["MEMCACHED_PORT"]))
    client = CacheClient.cache_client_from_servers([server], connection_pool_factory_builder())
    for key in ("a", "b", "n", "l", "s", "big", Key("schlüssel".encode().decode())):
        client.delete(key)
    return client


def test_set_get_delete(cache):
    assert cache.get("a") is None
    assert cache.set("a", "text", ttl=100)
    assert cache.get("a") == "text"
    assert cache.set("b", {"x": [1, 2.5, None]}, ttl=100)
    assert cache.get("b") == {"x": [1, 2.5, None]}
    assert cache.set("b", b"\x00\r\nEN\r\n\xff", ttl=100)
    assert cache.get("b") == b"\x00\r\nEN\r\n\xff"
    assert cache.delete("a")
    assert cache.get("a") is None


def test_several_keys(cache):
    assert cache.set("a", 1, ttl=100)
    assert cache.set("b", 2, ttl=100)
    assert {str(getattr(k, "key", k)): v for k, v in cache.multi_get(["a", "b", "n"]).items()} == {"a": 1, "b": 2, "n": None}


def test_large_values_come_whole(cache):
    value = os.urandom(30_000)
    assert cache.set("big", value, ttl=100)
    assert cache.get("big") == value


def test_unicode_keys(cache):
    key = Key("schlüssel")
    assert cache.set(key, "x", ttl=100)
    assert cache.get(key) == "x"


def test_modes(cache):
    assert cache.set("a", b"one", ttl=100, set_mode=SetMode.ADD)
    assert not cache.set("a", b"two", ttl=100, set_mode=SetMode.ADD)
    assert cache.set("a", b"+", ttl=100, set_mode=SetMode.APPEND)
    assert cache.get("a") == b"one+"
    assert not cache.refill("a", b"late", ttl=100)


def test_cas(cache):
    assert cache.set("a", 1, ttl=100)
    value, token = cache.get_cas("a")
    assert value == 1
    assert cache.set("a", 2, ttl=100, cas_token=token)
    assert not cache.set("a", 3, ttl=100, cas_token=token)
    assert not cache.delete("a", cas_token=token)
    assert cache.get("a") == 2


def test_counters(cache):
    assert not cache.delta("n", 1)
    assert cache.delta_initialize("n", delta=1, initial_value=10, initial_ttl=100)
    assert cache.delta_and_get("n", 5) == 15
    assert cache.delta_and_get("n", -20) == 0
    assert cache.delta_initialize_and_get("n", delta=3, initial_value=0, initial_ttl=100) == 3


def test_touch(cache):
    assert not cache.touch("a", ttl=100)
    assert cache.set("a", 1, ttl=100)
    assert cache.touch("a", ttl=200)
    assert cache.get("a", touch_ttl=300) == 1


def test_leases(cache):
    policy = LeasePolicy(miss_retries=2, miss_retry_wait=0.01)
    assert cache.get_or_lease("l", lease_policy=policy) is None
    assert cache.get_or_lease("l", lease_policy=policy) is None
    value, token = cache.get_or_lease_cas("l", lease_policy=policy)
    assert value is None
    assert cache.set("l", "filled", ttl=100)
    assert cache.get_or_lease("l", lease_policy=policy) == "filled"


def test_recache(cache):
    assert cache.set("l", "old", ttl=20)
    policy = RecachePolicy(ttl=30)
    assert cache.get("l", recache_policy=policy) is None
    assert cache.get("l", recache_policy=policy) == "old"


def test_stale(cache):
    policy = StalePolicy(mark_stale_on_deletion_ttl=30, mark_stale_on_cas_mismatch=True)
    assert cache.set("s", "old", ttl=100)
    _, token = cache.get_cas("s")
    assert cache.invalidate("s", stale_policy=policy)
    # The first to see it stale is to refresh it, the others get the old value.
    assert cache.get("s") is None
    assert cache.get("s") == "old"
    assert cache.set("s", "late", ttl=100, cas_token=token, stale_policy=policy)
    assert cache.get("s") == "late"


def test_no_reply(cache):
    assert cache.set("a", 1, ttl=100, no_reply=True)
    assert cache.get("a") == 1
    assert cache.delete("a", no_reply=True)
    assert cache.get("a") is None
