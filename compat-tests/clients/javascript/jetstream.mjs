// Streams and consumers.

import { headers } from "@nats-io/transport-node";
import { AckPolicy, DeliverPolicy, StorageType } from "@nats-io/jetstream";
import { describe, failure, PATIENCE_MS, text } from "./world.mjs";

const SECOND_NS = 1_000_000_000;

async function fill(w, subject, count) {
  for (let i = 1; i <= count; i++) await w.js.publish(subject, `message ${i}`);
}

export async function jsPublish(w) {
  await w.jsm.streams.add({ name: "PUB", subjects: ["pub.>"], allow_direct: true, allow_msg_ttl: true });
  const publish = (step, subject, options) => w.attempt(step, () => w.js.publish(subject, "x", options));
  await publish("plain", "pub.a");
  await publish("message id", "pub.a", { msgID: "one" });
  await publish("message id again", "pub.a", { msgID: "one" });
  await publish("expected stream", "pub.a", { expect: { streamName: "PUB" } });
  await publish("wrong stream", "pub.a", { expect: { streamName: "OTHER" } });
  await publish("expected last sequence", "pub.a", { expect: { lastSequence: 3 } });
  await publish("wrong last sequence", "pub.a", { expect: { lastSequence: 3 } });
  await publish("wrong last message id", "pub.a", { expect: { lastMsgID: "other" } });
  await publish("expected last of subject", "pub.b", { expect: { lastSubjectSequence: 0 } });
  await publish("wrong last of subject", "pub.b", { expect: { lastSubjectSequence: 0 } });
  await publish("TTL", "pub.c", { ttl: "60s" });
  await publish("no stream", "nowhere", { retries: 0 });
  const h = headers();
  h.append("A", "1");
  h.append("A", "2");
  await publish("headers", "pub.headers", { headers: h });
  await w.raw("headers as stored", "$JS.API.STREAM.MSG.GET.PUB", '{"last_by_subj":"pub.headers"}');
  const acks = Array.from({ length: 100 }, (_, i) => w.js.publish("pub.async", String(i), { timeout: PATIENCE_MS }));
  for (const ack of acks) w.say("async", describe(await ack));
  await w.jsm.streams.delete("PUB");
}

export async function jsStream(w) {
  await w.jsm.streams.add({ name: "S", subjects: ["s.*"], allow_direct: true });
  await fill(w, "s.a", 5);
  await fill(w, "s.b", 5);
  const info = await w.jsm.streams.info("S", { subjects_filter: ">" });
  w.say("info", { config: info.config, state: info.state });
  const get = async (step, operation) => {
    try {
      const m = await operation();
      w.say(step, m ? { subject: m.subject, sequence: m.seq, data: text.decode(m.data) } : { value: String(m) });
    } catch (error) {
      w.say(step, failure(error));
    }
  };
  for (const reader of [w.jsm.streams, w.jsm.direct]) {
    await get("get", () => reader.getMessage("S", { seq: 3 }));
    await get("get next of a subject", () => reader.getMessage("S", { seq: 3, next_by_subj: "s.b" }));
    await get("get last of a subject", () => reader.getMessage("S", { last_by_subj: "s.a" }));
    await get("get missing", () => reader.getMessage("S", { seq: 99 }));
    await get("get last of a missing subject", () => reader.getMessage("S", { last_by_subj: "s.none" }));
  }
  await w.attempt("direct batch", async () => {
    const found = [];
    for await (const m of await w.jsm.direct.getBatch("S", { seq: 4, batch: 4 })) found.push(`${m.seq} ${m.subject}`);
    return found;
  });
  await w.attempt("direct last of many", async () => {
    const found = [];
    for await (const m of await w.jsm.direct.getLastMessagesFor("S", { multi_last: ["s.a", "s.b"] })) found.push(`${m.seq} ${m.subject}`);
    return found;
  });
  await w.attempt("delete message", () => w.jsm.streams.deleteMessage("S", 4));
  await w.attempt("delete message again", () => w.jsm.streams.deleteMessage("S", 4));
  await w.raw("state with deletes", "$JS.API.STREAM.INFO.S", '{"deleted_details":true}');
  await w.attempt("purge subject", async () => (await w.jsm.streams.purge("S", { filter: "s.a" })).purged);
  await w.attempt("purge keep", async () => (await w.jsm.streams.purge("S", { keep: 3 })).purged);
  await w.attempt("purge to sequence", async () => (await w.jsm.streams.purge("S", { seq: 10 })).purged);
  await w.raw("state after purges", "$JS.API.STREAM.INFO.S");
  await w.attempt("purge", async () => (await w.jsm.streams.purge("S")).purged);
  await w.attempt("name by subject", () => w.jsm.streams.find("s.z"));
  await w.attempt("overlapping subjects", () => w.jsm.streams.add({ name: "S2", subjects: ["s.>"] }));
  await w.attempt("update", () => w.jsm.streams.update("S", { subjects: ["s.*", "t"], max_msgs: 2 }));
  await fill(w, "t", 4);
  await w.raw("state at its limit", "$JS.API.STREAM.INFO.S");
  await w.attempt("missing stream", () => w.jsm.streams.info("missing"));
  await w.jsm.streams.delete("S");
}

function message(w, step, m) {
  w.say(step, {
    subject: m.subject, data: text.decode(m.data), stream: m.info.stream, sequence: m.info.streamSequence,
    delivery: m.info.deliverySequence, deliveries: m.info.deliveryCount, pending: m.info.pending,
  });
}

export async function jsPull(w) {
  await w.jsm.streams.add({ name: "PULL", subjects: ["pull.>"] });
  await fill(w, "pull.a", 6);
  await fill(w, "pull.b", 6);
  await w.jsm.consumers.add("PULL", {
    durable_name: "d", ack_policy: AckPolicy.Explicit, ack_wait: SECOND_NS, max_deliver: 3,
  });
  await w.raw("consumer", "$JS.API.CONSUMER.INFO.PULL.d");
  const consumer = await w.js.consumers.get("PULL", "d");
  let number = 0;
  for await (const m of await consumer.fetch({ max_messages: 4, expires: 30_000 })) {
    message(w, "fetch", m);
    number++;
    if (number === 1) await w.attempt("double ack", () => m.ackAck());
    if (number === 2) m.nak();
    if (number === 3) m.working();
    if (number === 4) m.term("not wanted");
  }
  await w.nc.flush();
  // Whether the message that was refused comes before new ones depends on the moment.
  const rest = [];
  for (let i = 0; i < 10; i++) {
    const m = await consumer.next({ expires: 30_000 });
    if (m === null) throw new Error("nothing came");
    rest.push([m.info.streamSequence, m.info.deliveryCount]);
    await m.ackAck();
  }
  w.say("the rest", { value: rest.sort((a, b) => a[0] - b[0]) });
  await w.attempt("nothing left", () => consumer.next({ expires: 1000 }));
  await w.raw("consumer at the end", "$JS.API.CONSUMER.INFO.PULL.d");
  await w.jsm.consumers.add("PULL", {
    durable_name: "f", filter_subjects: ["pull.b", "pull.c"], deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: 9, ack_policy: AckPolicy.None,
  });
  const filtered = await w.js.consumers.get("PULL", "f");
  const messages = await filtered.consume();
  let seen = 0;
  for await (const m of messages) {
    message(w, "consume", m);
    seen++;
    if (seen === 6) break;
    // One at a time: each message tells how many are pending.
    if (seen >= 4) await fill(w, "pull.c", 1);
  }
  await w.attempt("create another under the same name", () => w.jsm.consumers.add("PULL", { durable_name: "f", filter_subject: "pull.x" }));
  await w.attempt("missing consumer", () => w.jsm.consumers.info("PULL", "missing"));
  await w.attempt("delete consumer", () => w.jsm.consumers.delete("PULL", "f"));
  await w.attempt("delete consumer again", () => w.jsm.consumers.delete("PULL", "f"));
  await w.jsm.streams.delete("PULL");
}

export async function jsOrdered(w) {
  await w.jsm.streams.add({ name: "ORD", subjects: ["ord.>"], storage: StorageType.Memory });
  await fill(w, "ord.a", 30);
  await fill(w, "ord.b", 30);
  for (const options of [
    {}, { filter_subjects: ["ord.b"] }, { deliver_policy: DeliverPolicy.LastPerSubject, filter_subjects: ["ord.*"] },
    { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: 55, headers_only: true },
  ]) {
    const consumer = await w.js.consumers.get("ORD", options);
    for await (const m of await consumer.consume()) {
      message(w, "ordered", m);
      if (m.info.pending === 0) break;
    }
  }
  await w.jsm.streams.delete("ORD");
}

export async function jsPush(w) {
  await w.jsm.streams.add({ name: "PUSH", subjects: ["push.>"] });
  await fill(w, "push.a", 6);
  await w.jsm.consumers.add("PUSH", {
    durable_name: "p", deliver_subject: "deliver.here", ack_policy: AckPolicy.Explicit, ack_wait: 30 * SECOND_NS,
    idle_heartbeat: SECOND_NS / 2, flow_control: true, max_deliver: 4,
  });
  const consumer = await w.js.consumers.getPushConsumer("PUSH", "p");
  let seen = 0;
  // Six messages, one of them a SECOND_NS time after the nak and one after the delayed nak.
  for await (const m of await consumer.consume()) {
    message(w, "pushed", m);
    const { streamSequence, deliveryCount } = m.info;
    if (streamSequence === 6 && deliveryCount === 1) m.nak();
    else if (streamSequence === 3 && deliveryCount === 1) m.nak(300);
    else if (streamSequence === 4) m.term();
    else {
      if (streamSequence === 5) m.working();
      await m.ackAck();
    }
    seen++;
    if (seen === 8) {
      // The library unsubscribes behind the next request, and when a server notices that depends on the moment.
      await w.raw("consumer", "$JS.API.CONSUMER.INFO.PUSH.p");
      break;
    }
  }
  await w.jsm.streams.delete("PUSH");
}
