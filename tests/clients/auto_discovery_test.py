"""Clients that ask `config get cluster` of a server with --peers, at MEMCACHED_PORT; the file names that server alone."""
import os

import emcache
import pytest

PORT = int(os.environ["MEMCACHED_PORT"])


async def test_emcache_finds_the_servers():
    node = emcache.MemcachedHostAddress("127.0.0.1", PORT)
    client = await emcache.create_client([node], timeout=5.0, autodiscovery=True)
    assert [str(found) for found in client.cluster_managment().nodes()] == [str(node)]
    assert client._cluster._autodiscover_config_version > 0
    await client.set(b"found", b"1")
    assert (await client.get(b"found")).value == b"1"
    await client.close()


def test_django_elastipymemcache_finds_the_servers():
    from django_elastipymemcache.client import _ConfigurationEndpointClient

    endpoint = _ConfigurationEndpointClient(f"127.0.0.1:{PORT}", {"timeout": 5})
    found = endpoint._parse_config_get_cluster_response(endpoint._raw_config_get_cluster(endpoint._new_client()))
    assert found == [("127.0.0.1", PORT)]
