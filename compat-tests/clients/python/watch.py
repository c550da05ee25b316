"""Watchers, and what they see while values are written and while the server is stopped and started."""

import inspect

from nats.js.api import StorageType

from world import PATIENCE, describe, failure, history, status

# Values that are written while watchers look on.
WRITES = 500


def update(entry):
    """Leaves out how many more values were on their way, which depends on the moment."""
    return {name: value for name, value in describe(entry).items() if name != "delta"}


async def take(w, step, watcher, count):
    """Reports the next updates of a watcher; the mark that all initial values have come counts as one."""
    for _ in range(count):
        try:
            entry = await watcher.updates(timeout=PATIENCE)
        except Exception as error:
            w.say(step, **failure(error))
            return
        w.say(step, **(update(entry) if entry else {"mark": True}))


async def extra(w, step, watcher):
    """Reports updates that should not be there, and stops the watcher."""
    await w.nc.flush()
    while True:
        try:
            entry = await watcher.updates(timeout=0.03)
        except Exception:
            break
        w.say(step, unexpected=update(entry) if entry else "mark")
    await watcher.stop()


async def watch_fresh(w, step, keys, counts, options):
    """Watches a bucket with known values from before and writes while the watcher looks on.

    What a purge takes away is seen first: whether it would come otherwise depends on the moment.
    """
    first, puts, removals = counts
    bucket = "fresh-" + step.replace(" ", "-")
    kv = await w.bucket(bucket=bucket, history=5)
    for key, value in [("a.1", b"one"), ("a.1", b"two"), ("a.2", b"one"), ("b", b"one"), ("gone", b"one")]:
        await kv.put(key, value)
    await kv.delete("gone")
    try:
        watcher = await kv.watch(keys, **options)
        await take(w, step, watcher, first)
        await kv.put("a.1", b"further")
        await kv.put("b", b"further")
        await take(w, step, watcher, puts)
        await kv.delete("a.2")
        await kv.purge("b")
        await take(w, step, watcher, removals)
        await extra(w, step, watcher)
    except Exception as error:
        w.say(step, **failure(error))
    await w.js.delete_key_value(bucket)


async def kv_watch(w):
    kv = await w.bucket(bucket="watch", history=5)
    empty = await kv.watchall()
    await take(w, "empty bucket", empty, 1)
    await extra(w, "empty bucket", empty)
    # Each watcher with what it sees at first, after two puts and after two removals.
    for step, keys, counts, options in [
        ("all", ">", (5, 2, 2), {}),
        ("one key", "b", (2, 1, 1), {}),
        ("missing key", "nothing", (1, 0, 0), {}),
        ("wildcard", "a.*", (3, 1, 1), {}),
        ("two filters", ["a.1", "b"], (3, 2, 1), {}),
        ("history", ">", (7, 2, 2), {"include_history": True}),
        ("updates only", ">", (0, 2, 2), {"updates_only": True}),
        ("ignore deletes", ">", (4, 2, 0), {"ignore_deletes": True}),
        ("meta only", ">", (5, 2, 2), {"meta_only": True}),
    ]:
        if set(options) <= set(inspect.signature(kv.watch).parameters):
            await watch_fresh(w, step, keys, counts, options)
    w.say("consumers left", value=len(await w.js.consumers_info("KV_watch")))
    await w.js.delete_key_value("watch")


async def kv_watch_writing(w):
    kv = await w.bucket(bucket="writing")
    all_keys = await kv.watchall()
    some = await kv.watch("k.1.*")
    for i in range(WRITES):
        await w.js.publish_async(f"$KV.writing.k.{i % 10}.{i}", str(i).encode())
    for step, watcher, expected in [("all", all_keys, WRITES), ("some", some, WRITES // 10)]:
        count, marks, last, ordered = 0, 0, 0, True
        while count < expected or marks == 0:
            entry = await watcher.updates(timeout=PATIENCE)
            if entry is None:
                marks += 1
                continue
            count += 1
            ordered = ordered and entry.revision > last
            last = entry.revision
        w.say(step, count=count, marks=marks, last=last, ordered=ordered)
        await extra(w, step, watcher)
    await w.js.publish_async_completed()
    await w.js.delete_key_value("writing")


async def kv_two(w):
    a = await w.bucket(bucket="two", history=5)
    b = await w.bucket(bucket="two-b", history=5, storage=StorageType.MEMORY)
    watch_a, watch_b = await a.watchall(), await b.watchall()
    for i in range(3):
        await w.attempt("put to a", a.put("k", f"a{i}".encode()))
        await w.attempt("put to b", b.put("k", f"b{i}".encode()))
    for step, watcher in [("watch a", watch_a), ("watch b", watch_b)]:
        await take(w, step, watcher, 4)
        await extra(w, step, watcher)
    await w.js.delete_key_value("two")
    await w.attempt("b after the end of a", b.get("k"))
    await w.js.delete_key_value("two-b")


async def kv_restart(w):
    kv = await w.bucket(bucket="restart", history=10)
    for i in range(5):
        await kv.put(f"k{i}", b"before")
    watcher = await kv.watchall()
    await take(w, "watch", watcher, 6)
    for signal in ["KILL", "TERM"]:
        for i in range(5):
            await w.attempt("put before " + signal, kv.put(f"k{i}", f"before {signal}".encode()))
        await take(w, "watch before " + signal, watcher, 5)
        await w.ask(signal)
        for i in range(5):
            await w.attempt("put after " + signal, kv.put(f"k{i}", f"after {signal}".encode()))
        await take(w, "watch over " + signal, watcher, 5)
        await history(w, "history after " + signal, kv, "k2")
    await extra(w, "watch", watcher)
    await status(w, "status", kv)
    await w.js.delete_key_value("restart")
