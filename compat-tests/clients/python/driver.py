"""Walks through the scenarios of ../README.md with nats-py and prints one JSON line for each thing that it sees."""

import asyncio
import hashlib
import inspect
import json
import sys

import nats
from nats.js import api
from nats.js.api import KeyValueConfig, StorageType
from nats.micro import ServiceConfig, add_service

PATIENCE = 40


class World:
    """What a scenario works with."""

    def __init__(self, name, nc):
        self.name = name
        self.nc = nc
        self.js = nc.jetstream(timeout=PATIENCE)

    def say(self, step, **seen):
        print(json.dumps({"scenario": self.name, "step": step, **seen}, sort_keys=True), flush=True)

    async def attempt(self, step, operation):
        """Reports what an operation returned, or its error."""
        try:
            result = await operation if inspect.isawaitable(operation) else operation()
        except Exception as error:
            self.say(step, **failure(error))
            return None
        self.say(step, **describe(result))
        return result

    async def raw(self, step, subject, body=""):
        """Sends a request as it is and reports the JSON of the answer."""
        try:
            answer = await self.nc.request(subject, body.encode(), timeout=PATIENCE)
        except Exception as error:
            self.say(step, **failure(error))
            return
        self.say(step, headers=answer.headers, json=json.loads(answer.data))

    async def bucket(self, **options):
        return await self.js.create_key_value(KeyValueConfig(**options))

    async def ask(self, signal):
        """Has the harness stop the server by a signal and start it again."""
        print(json.dumps({"ask": signal}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


def failure(error):
    seen = {"error": type(error).__name__, "text": str(error)}
    for name in ("code", "err_code", "description"):
        if getattr(error, name, None) is not None:
            seen[name] = getattr(error, name)
    return seen


def describe(result):
    if hasattr(result, "operation"):
        value = result.value or b""
        return {
            "bucket": result.bucket,
            "key": result.key,
            "value": f"{len(value)} bytes" if len(value) > 64 else value.decode(),
            "revision": result.revision,
            "operation": result.operation,
            "delta": result.delta,
            "dated": result.created is not None,
        }
    if isinstance(result, api.PubAck):
        return {"stream": result.stream, "sequence": result.seq, "duplicate": bool(result.duplicate)}
    if isinstance(result, (int, bool, str, list, float)) or result is None:
        return {"value": result}
    return {"value": "ok"}


def status_fields(status):
    return {
        "bucket": status.bucket,
        "values": status.values,
        "history": status.history,
        "ttl": status.ttl,
        "marker_ttl": status.marker_ttl,
        "bytes": status.stream_info.state.bytes,
    }


async def status(w, step, kv):
    w.say(step, **status_fields(await kv.status()))


async def history(w, step, kv, key):
    try:
        entries = await kv.history(key)
    except Exception as error:
        w.say(step, **failure(error))
        return
    for entry in entries:
        w.say(step, **describe(entry))


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
    for filters in [["a.>"], ["*"], ["c.*", "b"], ["a.b.*", "c.1", "nothing"], ["nothing"], ["gone"]]:
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


async def watch_fresh(w, step, keys, first, further, options):
    """Watches a bucket with known values from before and writes while the watcher looks on."""
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
        await kv.delete("a.2")
        await kv.purge("b")
        await take(w, step, watcher, further)
        await extra(w, step, watcher)
    except Exception as error:
        w.say(step, **failure(error))
    await w.js.delete_key_value(bucket)


async def kv_watch(w):
    kv = await w.bucket(bucket="watch", history=5)
    empty = await kv.watchall()
    await take(w, "empty bucket", empty, 1)
    await extra(w, "empty bucket", empty)
    for step, keys, first, further, options in [
        ("all", ">", 5, 4, {}),
        ("one key", "b", 2, 2, {}),
        ("missing key", "nothing", 1, 0, {}),
        ("wildcard", "a.*", 3, 2, {}),
        ("two filters", ["a.1", "b"], 3, 3, {}),
        ("history", ">", 7, 4, {"include_history": True}),
        ("updates only", ">", 0, 4, {"headers_only": False, "ignore_deletes": False, "meta_only": False}),
        ("ignore deletes", ">", 4, 2, {"ignore_deletes": True}),
        ("meta only", ">", 5, 4, {"meta_only": True}),
    ]:
        if step == "updates only":
            if "updates_only" not in inspect.signature(kv.watch).parameters:
                continue
            options = {"updates_only": True}
        await watch_fresh(w, step, keys, first, further, options)
    w.say("consumers left", value=len(await w.js.consumers_info("KV_watch")))
    await w.js.delete_key_value("watch")


async def kv_watch_writing(w):
    kv = await w.bucket(bucket="writing")
    all_keys = await kv.watchall()
    some = await kv.watch("k.1.*")
    writes = 500
    for i in range(writes):
        await w.js.publish_async(f"$KV.writing.k.{i % 10}.{i}", str(i).encode())
    for step, watcher, expected in [("all", all_keys, writes), ("some", some, writes // 10)]:
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
        while not w.nc.is_connected:
            await asyncio.sleep(0.005)
        for i in range(5):
            await w.attempt("put after " + signal, kv.put(f"k{i}", f"after {signal}".encode()))
        await take(w, "watch over " + signal, watcher, 5)
        await history(w, "history after " + signal, kv, "k2")
    await extra(w, "watch", watcher)
    await status(w, "status", kv)
    await w.js.delete_key_value("restart")


def info_fields(info):
    return {
        "name": info.name,
        "description": info.description,
        "headers": info.headers,
        "size": info.size,
        "chunks": info.chunks,
        "digest": info.digest,
        "deleted": bool(info.deleted),
        "bucket": info.bucket,
        "chunk_size": info.options.max_chunk_size if info.options else None,
    }


async def objects(w):
    store = await w.js.create_object_store("things", description="a store", max_bytes=1 << 26)
    await w.raw("stream", "$JS.API.STREAM.INFO.OBJ_things")
    watcher = await store.watch()
    big = bytes(i * 7 % 251 for i in range(700_000))

    async def show(step, operation):
        try:
            info = await operation
        except Exception as error:
            w.say(step, **failure(error))
            return
        w.say(step, **info_fields(getattr(info, "info", info)))

    async def read(name):
        data = (await store.get(name)).data
        return f"{len(data)} {hashlib.sha256(data).hexdigest()}"

    await show("put small", store.put("small", b"a small thing"))
    await show("put empty", store.put("empty", b""))
    meta = api.ObjectMeta(
        description="big", headers={"X": "1"}, options=api.ObjectMetaOptions(max_chunk_size=64 * 1024)
    )
    await show("put big", store.put("folder/big thing", big, meta=meta))
    await w.attempt("get big", read("folder/big thing"))
    await w.attempt("get small", read("small"))
    await w.attempt("get missing", read("missing"))
    await show("info", store.get_info("folder/big thing"))
    await w.attempt("rename", store.update_meta("small", api.ObjectMeta(name="tiny", description="renamed")))
    await show("put again", store.put("tiny", b"another text"))

    async def listing(step, **options):
        try:
            infos = await store.list(**options)
        except Exception as error:
            w.say(step, **failure(error))
            return
        # The library hands the mark of a watcher on as an object that is none.
        for info in sorted(filter(None, infos), key=lambda info: info.name):
            w.say(step, **info_fields(info))

    await listing("list")
    await show("delete", store.delete("tiny"))
    await w.attempt("delete missing", store.delete("missing"))
    await w.attempt("get deleted", read("tiny"))
    await listing("list after delete")
    for _ in range(7):
        info = await watcher.updates(timeout=PATIENCE)
        w.say("watch", **(info_fields(info) if info else {"mark": True}))
    await watcher.stop()
    state = await store.status()
    w.say("status", bucket=state.bucket, description=state.description, ttl=state.ttl, sealed=state.sealed,
          storage=str(state.storage_type), replicas=state.replicas)
    await w.attempt("seal", store.seal())
    await show("put to a sealed store", store.put("late", b"x"))
    await w.attempt("delete store", w.js.delete_object_store("things"))
    await w.attempt("open a missing store", w.js.object_store("things"))


async def fill(w, subject, count):
    for i in range(count):
        await w.js.publish(subject, f"message {i + 1}".encode())


async def js_publish(w):
    await w.js.add_stream(name="PUB", subjects=["pub.>"], allow_direct=True, allow_msg_ttl=True)

    async def publish(step, subject, headers=None, **options):
        await w.attempt(step, w.js.publish(subject, b"x", headers=headers, **options))

    await publish("plain", "pub.a")
    for step in ["message id", "message id again"]:
        await publish(step, "pub.a", {"Nats-Msg-Id": "one"})
    await publish("expected stream", "pub.a", stream="PUB")
    await publish("wrong stream", "pub.a", stream="OTHER")
    await publish("expected last sequence", "pub.a", {"Nats-Expected-Last-Sequence": "3"})
    await publish("wrong last sequence", "pub.a", {"Nats-Expected-Last-Sequence": "3"})
    await publish("wrong last message id", "pub.a", {"Nats-Expected-Last-Msg-Id": "other"})
    await publish("expected last of subject", "pub.b", {"Nats-Expected-Last-Subject-Sequence": "0"})
    await publish("wrong last of subject", "pub.b", {"Nats-Expected-Last-Subject-Sequence": "0"})
    await publish("TTL", "pub.c", msg_ttl=60.0)
    await publish("no stream", "nowhere")
    await publish("headers", "pub.headers", {"A": "1", "lower-case": "with spaces inside"})
    await w.raw("headers as stored", "$JS.API.STREAM.MSG.GET.PUB", '{"last_by_subj":"pub.headers"}')
    futures = [await w.js.publish_async("pub.async", str(i).encode()) for i in range(100)]
    for future in futures:
        await w.attempt("async", asyncio.wait_for(future, PATIENCE))
    await w.js.delete_stream("PUB")


async def js_stream(w):
    await w.js.add_stream(name="S", subjects=["s.*"], allow_direct=True)
    await fill(w, "s.a", 5)
    await fill(w, "s.b", 5)
    info = await w.js.stream_info("S", subjects_filter=">")
    w.say("info", messages=info.state.messages, bytes=info.state.bytes, first=info.state.first_seq,
          last=info.state.last_seq, subjects=info.state.subjects, config=str(info.config))

    async def get(step, *arguments, **options):
        try:
            msg = await w.js.get_msg("S", *arguments, **options)
        except Exception as error:
            w.say(step, **failure(error))
            return
        w.say(step, subject=msg.subject, sequence=msg.seq, data=msg.data.decode(), headers=msg.headers)

    for direct in [False, True]:
        await get("get", 3, direct=direct)
        await get("get next of a subject", 3, subject="s.b", next=True, direct=direct)
        await get("get last of a subject", subject="s.a", direct=direct)
        await get("get missing", 99, direct=direct)
        await get("get last of a missing subject", subject="s.none", direct=direct)
    await w.attempt("delete message", w.js.delete_msg("S", 4))
    await w.attempt("delete message again", w.js.delete_msg("S", 4))
    await w.raw("state with deletes", "$JS.API.STREAM.INFO.S", '{"deleted_details":true}')
    await w.attempt("purge subject", w.js.purge_stream("S", subject="s.a"))
    await w.attempt("purge keep", w.js.purge_stream("S", keep=3))
    await w.attempt("purge to sequence", w.js.purge_stream("S", seq=10))
    await w.raw("state after purges", "$JS.API.STREAM.INFO.S")
    await w.attempt("purge", w.js.purge_stream("S"))
    await w.attempt("name by subject", w.js.find_stream_name_by_subject("s.z"))
    await w.attempt("overlapping subjects", w.js.add_stream(name="S2", subjects=["s.>"]))
    await w.attempt("update", w.js.update_stream(name="S", subjects=["s.*", "t"], max_msgs=2))
    await fill(w, "t", 4)
    await w.raw("state at its limit", "$JS.API.STREAM.INFO.S")
    await w.attempt("missing stream", w.js.stream_info("missing"))
    await w.js.delete_stream("S")


def message(w, step, msg):
    meta = msg.metadata
    w.say(step, subject=msg.subject, data=msg.data.decode(), headers=msg.headers, stream=meta.stream,
          sequence=meta.sequence.stream, delivery=meta.sequence.consumer, deliveries=meta.num_delivered,
          pending=meta.num_pending)


async def js_pull(w):
    await w.js.add_stream(name="PULL", subjects=["pull.>"])
    await fill(w, "pull.a", 6)
    await fill(w, "pull.b", 6)
    sub = await w.js.pull_subscribe("pull.>", durable="d", config=api.ConsumerConfig(ack_wait=1, max_deliver=3))
    await w.raw("consumer", "$JS.API.CONSUMER.INFO.PULL.d")
    msgs = await sub.fetch(4, timeout=PATIENCE)
    for msg in msgs:
        message(w, "fetch", msg)
    await msgs[0].ack_sync()
    await msgs[1].nak()
    await msgs[2].in_progress()
    await msgs[3].term()
    await w.nc.flush()
    # Whether the message that was refused comes before new ones depends on the moment.
    rest = []
    for _ in range(10):
        for msg in await sub.fetch(1, timeout=PATIENCE):
            rest.append([msg.metadata.sequence.stream, msg.metadata.num_delivered])
            await msg.ack_sync()
    w.say("the rest", value=sorted(rest))
    await w.attempt("nothing left", sub.fetch(1, timeout=0.2))
    await w.raw("consumer at the end", "$JS.API.CONSUMER.INFO.PULL.d")
    await w.attempt("missing consumer", w.js.consumer_info("PULL", "missing"))
    await w.attempt("delete consumer", w.js.delete_consumer("PULL", "d"))
    await w.attempt("delete consumer again", w.js.delete_consumer("PULL", "d"))
    await w.js.delete_stream("PULL")


async def js_ordered(w):
    await w.js.add_stream(name="ORD", subjects=["ord.>"], storage=StorageType.MEMORY)
    await fill(w, "ord.a", 30)
    await fill(w, "ord.b", 30)
    for subject, options in [
        ("ord.>", {}),
        ("ord.b", {}),
        ("ord.>", {"deliver_policy": api.DeliverPolicy.LAST_PER_SUBJECT}),
        ("ord.>", {"deliver_policy": api.DeliverPolicy.BY_START_SEQUENCE, "config": api.ConsumerConfig(opt_start_seq=55)}),
    ]:
        sub = await w.js.subscribe(subject, ordered_consumer=True, **options)
        while True:
            msg = await sub.next_msg(timeout=PATIENCE)
            message(w, "ordered", msg)
            if msg.metadata.num_pending == 0:
                break
        await sub.unsubscribe()
    await w.js.delete_stream("ORD")


async def js_push(w):
    await w.js.add_stream(name="PUSH", subjects=["push.>"])
    await fill(w, "push.a", 6)
    sub = await w.js.subscribe("push.>", durable="p", manual_ack=True, idle_heartbeat=0.5, flow_control=True,
                               config=api.ConsumerConfig(ack_wait=30, max_deliver=4, deliver_subject="deliver.here"))
    # Six messages, one of them a second time after the nak and one after the delayed nak.
    for _ in range(8):
        msg = await sub.next_msg(timeout=PATIENCE)
        message(w, "pushed", msg)
        sequence, deliveries = msg.metadata.sequence.stream, msg.metadata.num_delivered
        if sequence == 6 and deliveries == 1:
            await msg.nak()
        elif sequence == 3 and deliveries == 1:
            await msg.nak(delay=0.3)
        elif sequence == 4:
            await msg.term()
        else:
            if sequence == 5:
                await msg.in_progress()
            await msg.ack_sync()
    await sub.unsubscribe()
    await w.js.delete_stream("PUSH")


async def core(w):
    sub = await w.nc.subscribe("core.>")
    await w.nc.publish("core.a.b", b"data", headers={"K": "v1"})
    msg = await sub.next_msg(timeout=PATIENCE)
    w.say("message", subject=msg.subject, data=msg.data.decode(), headers=msg.headers)
    await sub.unsubscribe()

    async def answer(msg):
        await msg.respond(b"answer to " + msg.data + b" on " + msg.subject.encode())

    echo = await w.nc.subscribe("ask.*", cb=answer)
    msg = await w.nc.request("ask.me", b"question", timeout=PATIENCE)
    w.say("request", data=msg.data.decode())
    await echo.unsubscribe()
    await w.attempt("no responders", w.nc.request("nobody.here", b"", timeout=PATIENCE))
    seen, subs = asyncio.Queue(), []
    for group in ["one", "one", "one", "two", "two", ""]:

        async def handler(msg, group=group):
            seen.put_nowait(f"{group} {msg.data.decode()}")

        subs.append(await w.nc.subscribe("queue.*", queue=group, cb=handler))
    for i in range(50):
        await w.nc.publish("queue.x", b"%02d" % i)
    found = sorted([await asyncio.wait_for(seen.get(), PATIENCE) for _ in range(150)])
    await w.nc.flush()
    w.say("queue groups", seen=",".join(found), more=seen.qsize())
    for sub in subs:
        await sub.unsubscribe()
    limited = await w.nc.subscribe("limited")
    await limited.unsubscribe(limit=2)
    for _ in range(4):
        await w.nc.publish("limited")
    received = [await limited.next_msg(timeout=PATIENCE) for _ in range(2)]
    await w.nc.flush()
    w.say("auto-unsubscribe", received=len(received), more=limited.pending_msgs)
    await w.attempt("too large", w.nc.publish("x", bytes(w.nc.max_payload + 1)))
    w.say("max payload", value=w.nc.max_payload)


async def services(w):
    service = await add_service(
        w.nc, ServiceConfig(name="adder", version="1.2.3", description="adds", metadata={"k": "v"})
    )
    group = service.add_group(name="math")

    async def echo(request):
        await request.respond(request.data)

    async def fail(request):
        await request.respond_error("400", "no good", data=b"data")

    await group.add_endpoint(name="echo", handler=echo)
    await group.add_endpoint(name="fail", handler=fail)
    await w.nc.flush()
    for subject in ["math.echo", "math.fail", "math.none"]:
        try:
            msg = await w.nc.request(subject, b"1", timeout=PATIENCE)
            w.say(subject, data=msg.data.decode(), headers=msg.headers)
        except Exception as error:
            w.say(subject, **failure(error))
    for subject in ["$SRV.PING", "$SRV.PING.adder", "$SRV.INFO.adder", "$SRV.STATS.adder", "$SRV.PING.none"]:
        await w.raw(subject, subject)
    await service.stop()
    await w.attempt("after the stop", w.nc.request("math.echo", b"", timeout=PATIENCE))


SCENARIOS = [
    kv_bucket, kv_manage, kv_values, kv_names, kv_limits, kv_history, kv_keys, kv_ttl, kv_watch, kv_watch_writing,
    kv_two, kv_purge_deletes, objects, js_publish, js_stream, js_pull, js_ordered, js_push, core, services, kv_restart,
]


async def main():
    async def quiet(_error):
        """Errors of the connection during a restart are part of the scenario."""

    nc = await nats.connect(sys.argv[1], max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=quiet)
    for scenario in SCENARIOS:
        name = scenario.__name__.replace("_", "-")
        if sys.argv[2] in ("all", name):
            w = World(name, nc)
            try:
                await scenario(w)
            except Exception as error:
                w.say("stopped", **failure(error))
    await nc.close()


asyncio.run(main())
