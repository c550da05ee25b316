"""Streams and consumers."""

import asyncio

from nats.js import api
from nats.js.api import StorageType

from world import PATIENCE, failure


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
    await w.raw("consumer at the end", "$JS.API.CONSUMER.INFO.PULL.d")
    # The library gives up about when the server does, whose answer may come later.
    await w.attempt("nothing left", sub.fetch(1, timeout=0.2))
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
