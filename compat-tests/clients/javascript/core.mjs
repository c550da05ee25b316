// Messages without JetStream, and services.

import { headers } from "@nats-io/transport-node";
import { Svcm } from "@nats-io/services";
import { failure, PATIENCE_MS } from "./world.mjs";

export async function core(w) {
  const sub = w.nc.subscribe("core.>", { max: 1 });
  const h = headers();
  h.append("K", "v1");
  h.append("K", "v2");
  w.nc.publish("core.a.b", "data", { headers: h });
  for await (const m of sub) w.say("message", { subject: m.subject, data: m.string(), headers: [...m.headers] });
  const echo = w.nc.subscribe("ask.*", { callback: (_, m) => m.respond(`answer to ${m.string()} on ${m.subject}`) });
  w.say("request", { data: (await w.nc.request("ask.me", "question", { timeout: PATIENCE_MS })).string() });
  echo.unsubscribe();
  await w.attempt("no responders", () => w.nc.request("nobody.here", "", { timeout: PATIENCE_MS }));
  const seen = [];
  const subs = ["one", "one", "one", "two", "two", undefined].map((queue) =>
    w.nc.subscribe("queue.*", { queue, callback: (_, m) => seen.push(`${queue} ${m.string()}`) }));
  for (let i = 10; i < 60; i++) w.nc.publish("queue.x", String(i));
  await w.nc.flush();
  w.say("queue groups", { seen: seen.sort().join(",") });
  subs.forEach((one) => one.unsubscribe());
  let received = 0;
  w.nc.subscribe("limited", { max: 2, callback: () => received++ });
  for (let i = 0; i < 4; i++) w.nc.publish("limited");
  await w.nc.flush();
  w.say("auto-unsubscribe", { received });
  await w.attempt("too large", async () => w.nc.publish("x", new Uint8Array(w.nc.info.max_payload + 1)));
  w.say("info", {
    max_payload: w.nc.info.max_payload, headers: w.nc.info.headers, proto: w.nc.info.proto, jetstream: w.nc.info.jetstream,
    auth_required: w.nc.info.auth_required, tls_required: w.nc.info.tls_required,
  });
}

export async function services(w) {
  const service = await new Svcm(w.nc).add({ name: "adder", version: "1.2.3", description: "adds", metadata: { k: "v" } });
  const group = service.addGroup("math");
  group.addEndpoint("echo", (_, m) => m.respond(m.data));
  group.addEndpoint("fail", (_, m) => m.respondError(400, "no good", "data"));
  await w.nc.flush();
  for (const subject of ["math.echo", "math.fail", "math.none"]) {
    try {
      const m = await w.nc.request(subject, "1", { timeout: PATIENCE_MS });
      w.say(subject, { data: m.string(), headers: m.headers ? [...m.headers] : null });
    } catch (error) {
      w.say(subject, failure(error));
    }
  }
  for (const subject of ["$SRV.PING", "$SRV.PING.adder", "$SRV.INFO.adder", "$SRV.STATS.adder", "$SRV.PING.none"]) {
    await w.raw(subject, subject);
  }
  await service.stop();
  await w.attempt("after the stop", () => w.nc.request("math.echo", "", { timeout: PATIENCE_MS }));
}
