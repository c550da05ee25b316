"""The helper with the client that people use it with."""

import asyncio
import time
from datetime import timedelta

import nats
import pytest
from nats.js.api import KeyValueConfig
from nats.js.errors import KeyNotFoundError
from nats.errors import TimeoutError as NoAnswer

from jetkv_testkit import LabError

HOUR = 3_600
# A busy machine takes its time.
PATIENCE = 60


async def bucket(server, **config):
    connection = await nats.connect(server.url, connect_timeout=PATIENCE)
    js = connection.jetstream(timeout=PATIENCE)
    return connection, await js.create_key_value(KeyValueConfig(bucket="b", **config))


async def test_expiry(jetkv):
    connection, kv = await bucket(jetkv, ttl=HOUR)
    await kv.put("k", b"v")
    began = time.monotonic()
    await jetkv.advance(minutes=59)
    assert (await kv.get("k")).value == b"v"
    await jetkv.advance(timedelta(minutes=1, seconds=1))
    with pytest.raises(KeyNotFoundError):
        await kv.get("k")
    # The bound is the hour, which nobody waited for.
    assert time.monotonic() - began < HOUR / 10
    await connection.close()


async def test_a_lost_acknowledgement(jetkv):
    connection, kv = await bucket(jetkv)
    await jetkv.fault("ack_lost", {"subject": "$KV.b.k"}, times=1)
    with pytest.raises((NoAnswer, asyncio.TimeoutError)):
        await connection.request("$KV.b.k", b"v", timeout=0.2)
    assert (await kv.get("k")).value == b"v"
    await jetkv.clear_faults()
    await kv.put("k", b"w")
    await connection.close()


@pytest.mark.parametrize("number", range(3))
async def test_each_finds_nothing(jetkv_session, number):
    connection, kv = await bucket(jetkv_session)
    assert await kv.put("k", str(number).encode()) == 1
    await jetkv_session.advance("1h")
    await connection.close()


async def test_what_is_wrong_is_said(jetkv):
    with pytest.raises(LabError) as refused:
        await jetkv.fault("flood")
    assert refused.value.code == 400
    with pytest.raises(TypeError):
        await jetkv.advance(1, hours=1)
