"""What a scenario works with, and how what it sees is printed."""

import asyncio
import inspect
import json
import sys

from nats.js import api
from nats.js.api import KeyValueConfig

# Bounds every wait for something that must happen, in seconds.
PATIENCE = 40
# Values longer than this are printed by their length.
SHOWN_MAX = 64


class World:
    """What a scenario works with."""

    def __init__(self, name, nc, reconnected):
        self.name = name
        self.nc = nc
        self.reconnected = reconnected
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
        """Has the harness stop the server by a signal and start it again, and waits for the connection."""
        self.reconnected.clear()
        print(json.dumps({"ask": signal}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.wait_for(self.reconnected.wait(), PATIENCE)


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
            "value": f"{len(value)} bytes" if len(value) > SHOWN_MAX else value.decode(),
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
