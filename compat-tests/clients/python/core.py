"""Messages without JetStream, and services."""

import asyncio

from nats.micro import ServiceConfig, add_service

from world import PATIENCE, failure


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
