"""A bucket with many keys."""

import asyncio

from world import PATIENCE

COUNT = 100_000
# Acknowledgements that are waited for at a time.
BATCH = 2_000


async def write(w):
    """Publishes without waiting for each acknowledgement; a future for each would take most of the time."""
    acks, refused, whole = 0, [], asyncio.Event()

    async def count(msg):
        nonlocal acks
        acks += 1
        if b'"seq":' not in msg.data:
            refused.append(msg.data.decode())
        if acks % BATCH == 0:
            whole.set()

    inbox = w.nc.new_inbox()
    sub = await w.nc.subscribe(inbox, cb=count)
    for start in range(0, COUNT, BATCH):
        for i in range(start, start + BATCH):
            await w.nc.publish(f"$KV.many.group{i % 100}.key{i}", b"value %d" % i, reply=inbox)
        await asyncio.wait_for(whole.wait(), PATIENCE)
        whole.clear()
    await sub.unsubscribe()
    w.say("refused", value=refused)


async def initial_values(watcher):
    values, size = 0, 0
    async for entry in watcher:
        if entry is None:
            break
        values += 1
        size += len(entry.value)
    return values, size


async def kv_many(w):
    """Writes many keys, lists them and watches them."""
    kv = await w.bucket(bucket="many")
    await write(w)
    w.say("status", values=(await kv.status()).values)
    w.say("keys", value=len(set(await kv.keys())))
    # The library's filters are parts of keys, not subjects.
    w.say("keys of a group", value=len(await kv.keys(filters=["group7."])))
    watcher = await kv.watchall()
    values, size = await asyncio.wait_for(initial_values(watcher), 2 * PATIENCE)
    w.say("initial values", count=values, bytes=size)
    await watcher.stop()
    for i in [0, 4711, COUNT - 1]:
        await w.attempt("get", kv.get(f"group{i % 100}.key{i}"))
    await w.js.delete_key_value("many")
