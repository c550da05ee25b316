"""What a client library's own tests sleep for: keys with a time to live, and the markers that tell of their end."""

import asyncio
import time

import nats
import pytest
from nats.js.api import KeyValueConfig
from nats.js.errors import KeyNotFoundError, NoKeysError

HOUR = 3_600
# A busy machine takes its time.
PATIENCE = 60


@pytest.fixture
async def kv(jetkv):
    """A bucket whose keys may live for a time of their own, and whose markers stay for an hour."""
    connection = await nats.connect(jetkv.url, connect_timeout=PATIENCE)
    js = connection.jetstream(timeout=PATIENCE)
    began = time.monotonic()
    yield await js.create_key_value(KeyValueConfig(bucket="b", history=5, limit_marker_ttl=HOUR))
    # Each test passes hours, and none of them waits for one.
    assert time.monotonic() - began < HOUR / 10
    await connection.close()


async def gone(kv, key):
    with pytest.raises(KeyNotFoundError):
        await kv.get(key)


async def test_a_key_that_was_created_for_a_time(jetkv, kv):
    await kv.create("k", b"v", msg_ttl=HOUR)
    await kv.create("stays", b"v")
    await jetkv.advance(minutes=59)
    assert (await kv.get("k")).value == b"v"
    await jetkv.advance(minutes=2)
    # The library shows the marker that tells of its end as an entry without a value, until that goes, too.
    assert (await kv.get("k")).value is None
    await jetkv.advance(hours=1)
    await gone(kv, "k")
    assert await kv.keys() == ["stays"]
    assert await kv.create("k", b"w") == 4


async def test_a_purge_whose_marker_goes(jetkv, kv):
    await kv.put("k", b"v")
    await kv.put("k", b"w")
    assert await kv.purge("k", msg_ttl=HOUR)
    await gone(kv, "k")
    assert [entry.operation for entry in await kv.history("k")] == ["PURGE"]
    await jetkv.advance(hours=1, seconds=1)
    # Where its marker was, nothing is left; the end of a marker leaves none.
    with pytest.raises(NoKeysError):
        await kv.history("k")
    assert (await kv.status()).values == 0


async def test_a_bucket_whose_keys_all_expire(jetkv):
    connection = await nats.connect(jetkv.url, connect_timeout=PATIENCE)
    js = connection.jetstream(timeout=PATIENCE)
    kv = await js.create_key_value(KeyValueConfig(bucket="b", ttl=HOUR))
    await kv.put("old", b"v")
    await jetkv.advance(minutes=30)
    await kv.put("new", b"v")
    await jetkv.advance(minutes=31)
    await gone(kv, "old")
    assert (await kv.get("new")).value == b"v"
    await jetkv.advance(minutes=30)
    await gone(kv, "new")
    assert (await kv.status()).values == 0
    await connection.close()


async def test_a_watcher_is_told_of_the_end(jetkv, kv):
    watcher = await kv.watchall()
    assert await watcher.updates(timeout=PATIENCE) is None
    await kv.create("k", b"v", msg_ttl=HOUR)
    created = await watcher.updates(timeout=PATIENCE)
    assert (created.key, created.value) == ("k", b"v")
    await jetkv.advance(hours=1, seconds=1)
    ended = await asyncio.wait_for(watcher.updates(timeout=PATIENCE), PATIENCE)
    assert (ended.key, ended.value, ended.revision) == ("k", b"", 2)
    await watcher.stop()
