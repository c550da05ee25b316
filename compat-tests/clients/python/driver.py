"""Walks through the scenarios of ../README.md with nats-py and prints one JSON line for each thing that it sees."""

import asyncio
import sys

import nats

from core import core, services
from faults import faults
from jetstream import js_ordered, js_publish, js_pull, js_push, js_stream
from kv import (
    kv_bucket,
    kv_history,
    kv_keys,
    kv_limits,
    kv_manage,
    kv_names,
    kv_purge_deletes,
    kv_ttl,
    kv_values,
)
from many import kv_many
from objects import objects
from watch import kv_restart, kv_two, kv_watch, kv_watch_writing
from world import World, failure

SCENARIOS = [
    kv_bucket, kv_manage, kv_values, kv_names, kv_limits, kv_history, kv_keys, kv_ttl, kv_watch, kv_watch_writing,
    kv_two, kv_purge_deletes, kv_many, objects, js_publish, js_stream, js_pull, js_ordered, js_push, core, services,
    kv_restart, faults,
]


async def main():
    async def quiet(_error):
        """Errors of the connection during a restart are part of the scenario."""

    reconnected = asyncio.Event()

    async def back():
        reconnected.set()

    nc = await nats.connect(
        sys.argv[1], name="driver", max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=quiet,
        reconnected_cb=back,
    )
    for scenario in SCENARIOS:
        name = scenario.__name__.replace("_", "-")
        if sys.argv[2] == name or sys.argv[2] == "all" and name != "faults":
            w = World(name, nc, reconnected)
            try:
                await scenario(w)
            except Exception as error:
                w.say("stopped", **failure(error))
    await nc.close()


asyncio.run(main())
