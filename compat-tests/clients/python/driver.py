"""Walks through the list of KV steps with nats-py and prints what it sees."""

import asyncio
import json
import sys

import nats
from nats.js.api import KeyValueConfig, StorageType
from nats.js import errors


def say(step, **seen):
    print(json.dumps({"step": step, **seen}, sort_keys=True), flush=True)


async def attempt(step, operation):
    """Prints what an operation returned, or the kind and text of its error."""
    try:
        result = await operation
    except Exception as error:
        say(step, error=type(error).__name__, text=str(error))
        return None
    say(step, **describe(result))
    return result


def describe(result):
    if hasattr(result, "operation"):
        return {
            "key": result.key,
            "value": None if result.value is None else result.value.decode(),
            "revision": result.revision,
            "operation": result.operation,
            "delta": result.delta,
        }
    if isinstance(result, (int, bool)) or result is None:
        return {"result": result}
    return {"kind": type(result).__name__}


async def values(kv):
    for value in ["one", "two", "three", "four"]:
        await attempt("put", kv.put("k", value.encode()))
    await attempt("get", kv.get("k"))
    await attempt("get revision", kv.get("k", revision=2))
    await attempt("get dropped revision", kv.get("k", revision=1))
    await attempt("get missing", kv.get("missing"))
    created = await attempt("create", kv.create("new", b"fresh"))
    await attempt("create again", kv.create("new", b"again"))
    await attempt("update", kv.update("new", b"second", last=created))
    await attempt("update late", kv.update("new", b"late", last=created))
    await attempt("delete", kv.delete("new"))
    await attempt("get deleted", kv.get("new"))
    await attempt("create after delete", kv.create("new", b"reborn"))
    await attempt("delete at a wrong revision", kv.delete("new", last=1))
    await history(kv, "history")
    await attempt("purge", kv.purge("k"))
    await history(kv, "history after purge")
    for key in ["a b", ".a", "a.", "a*", "a/b", "A=b-_c.1"]:
        await attempt("put " + key, kv.put(key, b"x"))
    await attempt("put too big", kv.put("big", b"x" * (65536 + 1)))
    say("keys", keys=sorted(await kv.keys()))


async def history(kv, step):
    for key in ["k", "new", "nothing"]:
        try:
            entries = [describe(entry) for entry in await kv.history(key)]
            say(step, key=key, entries=entries)
        except errors.Error as error:
            say(step, key=key, error=type(error).__name__)


async def follow(step, watcher, last, after):
    """Prints what a watcher sees up to the given key, later than a revision."""
    while True:
        entry = await watcher.updates(timeout=45)
        if entry is None:
            continue
        seen = describe(entry)
        del seen["delta"]
        say(step, **seen)
        if entry.key == last and entry.revision > after:
            await watcher.stop()
            return


async def watches(kv):
    choices = {
        "all": {},
        "history": {"include_history": True},
        "ignore deletes": {"ignore_deletes": True},
        "meta only": {"meta_only": True},
    }
    for name, options in choices.items():
        watcher = await kv.watchall(**options)
        # The changes shall come after the initial values.
        await asyncio.sleep(0.15)
        await kv.put("w", name.encode())
        await kv.delete("w")
        revision = await kv.put("end", name.encode())
        await follow("watch " + name, watcher, "end", revision - 1)
    revision = await kv.put("w.x", b"1")
    watcher = await kv.watch("w.>")
    await follow("watch w.>", watcher, "w.x", revision - 1)


async def refused(js):
    for bucket in ["a.b", "a b", "*"]:
        await attempt("create bucket " + bucket, js.create_key_value(bucket=bucket))
    await attempt("history too long", js.create_key_value(bucket="H", history=65))
    await attempt("replicas", js.create_key_value(bucket="R", replicas=3))
    await attempt("bucket missing", js.key_value("nothing"))
    await js.create_key_value(bucket="S")
    await attempt("bucket again, other history", js.create_key_value(bucket="S", history=2))
    await attempt("delete missing", js.delete_key_value("nothing"))


async def objects(js):
    store = await js.create_object_store("O")
    content = b"0123456789abcdef" * 20000
    info = await store.put("blob", content)
    say("object put", size=info.size, chunks=info.chunks, digest=info.digest)
    back = await store.get("blob")
    say("object get", equal=back.data == content)
    await attempt("object missing", store.get("missing"))
    await attempt("object delete", store.delete("blob"))
    await attempt("object deleted", store.get("blob"))


async def restart(js):
    kv = await js.create_key_value(bucket="W")
    watcher = await kv.watchall()
    await kv.put("before", b"1")
    print('{"marker":"restart"}', flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    for _ in range(100):
        try:
            revision = await kv.put("after", b"2")
            break
        except Exception:
            await asyncio.sleep(0.1)
    await follow("watch over a restart", watcher, "after", 0)
    await attempt("get after restart", kv.get("before"))


async def main():
    async def quiet(_):
        pass

    connection = await nats.connect(
        sys.argv[1], max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=quiet
    )
    js = connection.jetstream()
    # nats-server removes the folder of the streams some time after the last of them was deleted, and cannot make a
    # stream meanwhile; with this one there is always a last one.
    await js.create_key_value(bucket="ANCHOR")
    for storage in [StorageType.FILE, StorageType.MEMORY]:
        config = KeyValueConfig(bucket="B", history=3, description="words", storage=storage, max_value_size=65536)
        kv = await js.create_key_value(config)
        status = await kv.status()
        say("status", bucket=status.bucket, history=status.history, ttl=status.ttl, values=status.values)
        await values(kv)
        await watches(kv)
        await attempt("purge deletes", kv.purge_deletes(olderthan=-1))
        await history(kv, "after purge of deletes")
        await attempt("delete bucket", js.delete_key_value("B"))
    await refused(js)
    await objects(js)
    await restart(js)
    await connection.close()


asyncio.run(main())
