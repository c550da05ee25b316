"""What the harness asks for, line by line, while it has the server fail."""

import asyncio
import sys

from world import PATIENCE, failure

# Bounds what is to come too late, in seconds.
BRIEF = 0.25


async def faults(w):
    patient = await w.js.key_value("b")
    hasty = await w.nc.jetstream(timeout=BRIEF).key_value("b")
    sub = None

    async def put(kv, _limit, key, value):
        return {"value": await kv.put(key, value.encode())}

    async def get(kv, _limit, key):
        entry = await kv.get(key)
        return {"value": entry.value.decode(), "revision": entry.revision}

    async def info(_kv, _limit):
        await w.js.stream_info("KV_b")
        return {"value": "ok"}

    async def keys(kv, _limit):
        return {"value": await kv.keys()}

    async def request(_kv, limit, subject, value):
        return {"value": (await w.nc.request(subject, value.encode(), timeout=limit)).data.decode()}

    async def publish(_kv, _limit, subject, value):
        await w.nc.publish(subject, value.encode())
        return {"value": "ok"}

    async def subscribe(_kv, _limit, subject):
        nonlocal sub
        if sub:
            await sub.unsubscribe()
        sub = await w.nc.subscribe(subject)
        await w.nc.flush(PATIENCE)
        return {"value": "ok"}

    async def next_message(_kv, limit):
        return {"value": (await sub.next_msg(limit)).data.decode()}

    done_by = {
        "put": put, "get": get, "info": info, "keys": keys, "request": request, "publish": publish,
        "subscribe": subscribe, "next": next_message,
    }
    w.say("ready")
    while words := (await asyncio.to_thread(sys.stdin.readline)).split():
        verb = words[0].removesuffix("-briefly")
        kv, limit = (patient, PATIENCE) if verb == words[0] else (hasty, BRIEF)
        try:
            w.say(words[0], **await done_by[verb](kv, limit, *words[1:]))
        except Exception as error:
            w.say(words[0], **failure(error))
