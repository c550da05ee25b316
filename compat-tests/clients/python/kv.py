"""Buckets and their values."""

from nats.js.api import RePublish, StorageType

from watch import take
from world import failure, history, status


async def kv_bucket(w):
    for options in [
        {"bucket": "plain"},
        {"bucket": "memory", "storage": StorageType.MEMORY},
        {"bucket": "history", "history": 64},
        {"bucket": "ttl", "ttl": 3600},
        {"bucket": "short-ttl", "ttl": 30},
        {"bucket": "sizes", "max_value_size": 1024, "max_bytes": 1 << 20},
        {"bucket": "described", "description": "words of ünïcode"},
        {"bucket": "replicas", "replicas": 1},
        {"bucket": "markers", "limit_marker_ttl": 60},
        {"bucket": "direct", "direct": True},
        {"bucket": "republished", "republish": RePublish(src=">", dest="again.>")},
        {"bucket": "republished", "republish": RePublish(src=">", dest="$KV.republished.>")},
        {"bucket": "history-over", "history": 65},
        {"bucket": "three", "replicas": 3},
    ]:
        try:
            kv = await w.bucket(**options)
        except Exception as error:
            w.say("create " + options["bucket"], **failure(error))
            continue
        await kv.put("k", b"value " * 20)
        await status(w, "status " + options["bucket"], kv)
        await w.raw("stream of " + options["bucket"], "$JS.API.STREAM.INFO.KV_" + options["bucket"])
        await w.js.delete_key_value(options["bucket"])


async def kv_manage(w):
    first = await w.bucket(bucket="first", history=2)
    await w.attempt("create the same again", w.bucket(bucket="first", history=2))
    await w.attempt("create with another history", w.bucket(bucket="first", history=3))
    await w.attempt("open", w.js.key_value("first"))
    await w.attempt("open a missing one", w.js.key_value("missing"))
    for name in ["first", "first"]:
        await w.attempt("delete " + name, w.js.delete_key_value(name))
    await w.attempt("get from a deleted bucket", first.get("k"))
    await w.attempt("put to a deleted bucket", first.put("k", b"v"))


async def kv_values(w):
    for storage in [StorageType.FILE, StorageType.MEMORY]:
        kv = await w.bucket(bucket="values", history=3, storage=storage)
        for value in ["one", "two", "three", "four"]:
            await w.attempt("put", kv.put("k", value.encode()))
        await w.attempt("get", kv.get("k"))
        for revision in [2, 1, 99]:
            await w.attempt(f"get revision {revision}", kv.get("k", revision=revision))
        await w.attempt("get a revision of another key", kv.get("other", revision=2))
        await w.attempt("get a missing key", kv.get("missing"))
        await w.attempt("put nothing", kv.put("empty", b""))
        await w.attempt("get nothing", kv.get("empty"))
        created = await w.attempt("create", kv.create("new", b"fresh"))
        await w.attempt("create again", kv.create("new", b"again"))
        await w.attempt("update", kv.update("new", b"second", last=created))
        await w.attempt("update late", kv.update("new", b"late", last=created))
        await w.attempt("update a missing key", kv.update("unborn", b"x", last=7))
        await w.attempt("update from zero", kv.update("unborn", b"x", last=0))
        await w.attempt("delete", kv.delete("new"))
        await w.attempt("get deleted", kv.get("new"))
        await w.attempt("delete again", kv.delete("new"))
        await w.attempt("delete a missing key", kv.delete("nothing"))
        revision = await w.attempt("create after delete", kv.create("new", b"reborn"))
        await w.attempt("delete at a wrong revision", kv.delete("new", last=1))
        await w.attempt("delete at the revision", kv.delete("new", last=revision))
        await w.attempt("purge", kv.purge("k"))
        await history(w, "history after purge", kv, "k")
        await w.attempt("create after purge", kv.create("k", b"after purge"))
        await status(w, "status", kv)
        await w.raw("stream", "$JS.API.STREAM.INFO.KV_values", '{"subjects_filter":">"}')
        await w.js.delete_key_value("values")


async def kv_names(w):
    for name in ["", "a.b", "a b", "a*", ">", "a/b", "é", "ok_-9"]:
        await w.attempt("bucket " + name, w.bucket(bucket=name))
    kv = await w.bucket(bucket="names")
    for key in ["", "a b", ".a", "a.", "a..b", "a*", ">", "a/b", "é", "A=b-_c.1/x", "_kv", "k" * 300]:
        await w.attempt("put " + key, kv.put(key, b"x"))
        await w.attempt("get " + key, kv.get(key))
    for name in ["names", "ok_-9"]:
        await w.js.delete_key_value(name)


async def kv_limits(w):
    kv = await w.bucket(bucket="limits", max_value_size=100, max_bytes=1000)
    for size in [70, 99, 100, 101, 5000]:
        await w.attempt(f"put {size}", kv.put(f"size{size}", b"x" * size))
    for i in range(10):
        await w.attempt("fill", kv.put(f"fill{i}", b"y" * 90))
    await w.attempt("put over an older value when full", kv.put("fill0", b"z"))
    await w.attempt("delete when full", kv.delete("fill1"))
    await w.attempt("purge when full", kv.purge("fill1"))
    await status(w, "status when full", kv)
    payload = await w.bucket(bucket="payload")
    await w.attempt("put a value as large as a message", payload.put("big", bytes(1 << 20)))
    await w.attempt("put a value larger than a message", payload.put("bigger", bytes((1 << 20) + 1)))
    await w.js.delete_key_value("limits")
    await w.js.delete_key_value("payload")


async def kv_history(w):
    for depth in [1, 5, 64]:
        kv = await w.bucket(bucket=f"history-{depth}", history=depth)
        for i in range(8):
            await kv.put("a.b", str(i).encode())
            await kv.put("a.c", str(i).encode())
        await kv.delete("a.b")
        await history(w, f"history of depth {depth}", kv, "a.b")
        await history(w, f"wildcard at depth {depth}", kv, "a.*")
        await history(w, "missing key", kv, "nothing")
        await w.js.delete_key_value(f"history-{depth}")


async def kv_keys(w):
    kv = await w.bucket(bucket="keys", history=5)
    await w.attempt("keys of an empty bucket", kv.keys())
    for key in ["a.b.c", "a.b.d", "a.x", "b", "c.1", "c.2", "gone", "purged"]:
        for _ in range(2):
            await kv.put(key, b"v")
    await kv.delete("gone")
    await kv.purge("purged")

    async def keys(filters=None):
        return sorted(await kv.keys(filters=filters))

    await w.attempt("keys", keys())
    for filters in [["a.>"], ["*"], ["c.*", "b"], ["a.b.*", "c.1", "nothing"], ["nothing"], ["gone"], ["a."], ["b", "c."]]:
        await w.attempt("filter " + " ".join(filters), keys(filters))
    await w.js.delete_key_value("keys")


async def kv_ttl(w):
    kv = await w.bucket(bucket="markers", limit_marker_ttl=60)
    watcher = await kv.watchall()
    await take(w, "watch", watcher, 1)
    await w.attempt("create with a TTL", kv.create("short", b"x", msg_ttl=1.0))
    await take(w, "watch", watcher, 2)
    await w.attempt("get expired", kv.get("short"))
    await w.raw("marker", "$JS.API.STREAM.MSG.GET.KV_markers", '{"last_by_subj":"$KV.markers.short"}')
    await w.attempt("create after expiry", kv.create("short", b"again"))
    await w.attempt("create with a TTL under a second", kv.create("tiny", b"x", msg_ttl=0.001))
    await w.attempt("purge with a TTL", kv.purge("short", msg_ttl=1.0))
    await take(w, "watch", watcher, 1)
    await watcher.stop()
    await w.js.delete_key_value("markers")
    plain = await w.bucket(bucket="plain")
    await w.attempt("create with a TTL where TTLs are off", plain.create("k", b"x", msg_ttl=1.0))
    await w.js.delete_key_value("plain")
    aged = await w.bucket(bucket="aged", ttl=1, limit_marker_ttl=2)
    watcher = await aged.watchall()
    await aged.put("k", b"x")
    await take(w, "watch with max age", watcher, 3)
    await watcher.stop()
    await w.js.delete_key_value("aged")


async def kv_purge_deletes(w):
    kv = await w.bucket(bucket="graves", history=5)
    for key in "abc":
        for _ in range(3):
            await kv.put(key, b"v")
    await kv.delete("a")
    await kv.purge("b")
    await w.attempt("young markers stay", kv.purge_deletes())
    await history(w, "a", kv, "a")
    await history(w, "b", kv, "b")
    await w.attempt("all markers go", kv.purge_deletes(olderthan=-1))
    for key in "abc":
        await history(w, key + " after", kv, key)
    await status(w, "status", kv)
    await w.js.delete_key_value("graves")
