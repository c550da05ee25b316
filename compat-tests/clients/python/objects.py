"""The object store."""

import hashlib

from nats.js import api

from world import PATIENCE, failure


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
    await w.attempt("delete", store.delete("tiny"))
    await w.attempt("delete missing", store.delete("missing"))
    await w.attempt("get deleted", read("tiny"))
    await listing("list after delete")
    # The mark, four puts (the library refuses the rename) and the delete.
    for _ in range(6):
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
