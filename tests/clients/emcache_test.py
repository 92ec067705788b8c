"""emcache against a server, at MEMCACHED_UNIX or else at MEMCACHED_PORT: what its documentation shows. Its own tests are not in its package."""
import os

import emcache
import pytest

PATH = os.environ.get("MEMCACHED_UNIX")
NODE = emcache.MemcachedUnixSocketPath(PATH) if PATH else emcache.MemcachedHostAddress("127.0.0.1", int(os.environ["MEMCACHED_PORT"]))


@pytest.fixture
async def client():
    client = await emcache.create_client([NODE], timeout=5.0)
    await client.flush_all(NODE)
    yield client
    await client.close()


async def test_set_and_get(client):
    await client.set(b"a", b"value", flags=7)
    item = await client.get(b"a", return_flags=True)
    assert (item.value, item.flags) == (b"value", 7)
    assert await client.get(b"none") is None


async def test_add_and_replace(client):
    await client.add(b"n", b"1")
    with pytest.raises(emcache.NotStoredStorageCommandError):
        await client.add(b"n", b"2")
    await client.replace(b"n", b"3")
    with pytest.raises(emcache.NotStoredStorageCommandError):
        await client.replace(b"none", b"3")
    assert (await client.get(b"n")).value == b"3"


async def test_append_and_prepend(client):
    await client.set(b"j", b"b")
    await client.append(b"j", b"c")
    await client.prepend(b"j", b"a")
    assert (await client.get(b"j")).value == b"abc"


async def test_cas(client):
    await client.set(b"s", b"1")
    cas = (await client.gets(b"s")).cas
    await client.cas(b"s", b"2", cas)
    with pytest.raises(emcache.NotStoredStorageCommandError):
        await client.cas(b"s", b"3", cas)


async def test_many_keys(client):
    keys = [b"m%d" % number for number in range(100)]
    for key in keys:
        await client.set(key, key)
    found = await client.get_many([*keys, b"none"])
    assert {key: item.value for key, item in found.items()} == {key: key for key in keys}


async def test_increment_and_decrement(client):
    await client.set(b"c", b"40")
    assert await client.increment(b"c", 5) == 45
    assert await client.decrement(b"c", 3) == 42
    with pytest.raises(emcache.NotFoundCommandError):
        await client.increment(b"none", 1)


async def test_touch_and_delete(client):
    await client.set(b"t", b"1", exptime=100)
    await client.touch(b"t", 200)
    await client.delete(b"t")
    with pytest.raises(emcache.NotFoundCommandError):
        await client.delete(b"t")


async def test_get_and_touch(client):
    await client.set(b"g", b"1", exptime=100)
    assert (await client.gat(200, b"g")).value == b"1"


async def test_without_reply(client):
    await client.set(b"q", b"1", noreply=True)
    await client.delete(b"none", noreply=True)
    assert (await client.get(b"q")).value == b"1"


async def test_version_and_stats(client):
    version = await client.version(NODE)
    assert version.split(".")[0] == "1"
    assert int((await client.stats(NODE))["curr_items"]) >= 0


async def test_verbosity(client):
    await client.verbosity(NODE, 1)
