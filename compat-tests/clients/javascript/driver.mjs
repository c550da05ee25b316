// Walks through the scenarios of ../README.md with the @nats-io packages and prints one JSON line for each thing that it sees.

import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import { connect, headers } from "@nats-io/transport-node";
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";
import { Svcm } from "@nats-io/services";

const PATIENCE_MS = 40_000;
const text = new TextDecoder();
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const second = 1_000_000_000;

function bounded(promise, what) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`silent: ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

function failure(error) {
  const seen = { error: error.name, text: error.message };
  if (error.code !== undefined) seen.code = error.code;
  if (error.status !== undefined) seen.status = error.status;
  return seen;
}

function shorten(bytes) {
  return bytes.length > 64 ? `${bytes.length} bytes` : text.decode(bytes);
}

function describe(result) {
  if (result === null || result === undefined) return { value: String(result) };
  if (result.operation !== undefined) {
    return {
      bucket: result.bucket, key: result.key, value: shorten(result.value), revision: result.revision,
      operation: result.operation, delta: result.delta, length: result.length, dated: result.created instanceof Date,
    };
  }
  if (typeof result !== "object" || Array.isArray(result)) return { value: result };
  if (typeof result.seq === "number" && result.stream !== undefined) {
    return { stream: result.stream, sequence: result.seq, duplicate: result.duplicate };
  }
  return { value: "ok" };
}

/** Leaves out how many more values were on their way, which depends on the moment. */
function update(entry) {
  const seen = describe(entry);
  delete seen.delta;
  return seen;
}

/** What a scenario works with. */
class World {
  constructor(name, nc, js, jsm) {
    Object.assign(this, { name, nc, js, jsm, kvm: new Kvm(js) });
  }

  say(step, seen) {
    process.stdout.write(JSON.stringify({ scenario: this.name, step, ...seen }) + "\n");
  }

  /** Reports what an operation returned, or its error. */
  async attempt(step, operation) {
    try {
      const result = await operation();
      this.say(step, describe(result));
      return result;
    } catch (error) {
      this.say(step, failure(error));
      return undefined;
    }
  }

  async raw(step, subject, body = "") {
    try {
      const answer = await this.nc.request(subject, body, { timeout: PATIENCE_MS });
      this.say(step, { json: answer.json() });
    } catch (error) {
      this.say(step, failure(error));
    }
  }

  async ask(signal) {
    process.stdout.write(JSON.stringify({ ask: signal }) + "\n");
    await lines.next();
  }
}

async function status(w, step, kv) {
  const s = await kv.status();
  w.say(step, {
    bucket: s.bucket, values: s.values, history: s.history, ttl: s.ttl, marker_ttl: s.markerTTL, size: s.size,
    storage: s.storage, replicas: s.replicas, max_bytes: s.max_bytes, max_value: s.maxValueSize,
    compression: s.compression, description: s.description, metadata: s.metadata,
  });
}

async function history(w, step, kv, key) {
  try {
    const entries = await kv.history({ key });
    for await (const entry of entries) w.say(step, describe(entry));
    w.say(step, { end: true });
  } catch (error) {
    w.say(step, failure(error));
  }
}

/** A watcher whose entries can be taken one at a time. */
class Watch {
  constructor(iterator) {
    this.iterator = iterator;
    this.entries = iterator[Symbol.asyncIterator]();
    this.waiting = undefined;
  }

  next() {
    this.waiting ??= this.entries.next();
    const taken = this.waiting;
    return taken.then((one) => {
      this.waiting = undefined;
      return one;
    });
  }

  async take(w, step, count) {
    for (let i = 0; i < count; i++) {
      const one = await bounded(this.next(), step);
      if (one.done) return w.say(step, { closed: true });
      w.say(step, { ...update(one.value), is_update: one.value.isUpdate });
    }
  }

  async extra(w, step) {
    await w.nc.flush();
    const none = new Promise((resolve) => setTimeout(resolve, 30, undefined));
    const one = await Promise.race([this.next(), none]);
    if (one !== undefined && !one.done) w.say(step, { unexpected: update(one.value) });
    this.iterator.stop();
  }
}

async function kvBucket(w) {
  for (const [name, options] of [
    ["plain", {}],
    ["memory", { storage: StorageType.Memory }],
    ["history", { history: 64 }],
    ["ttl", { ttl: 3_600_000 }],
    ["short-ttl", { ttl: 30_000 }],
    ["sizes", { maxValueSize: 1024, max_bytes: 1 << 20 }],
    ["described", { description: "words of ünïcode", metadata: { owner: "tests", a: "b" } }],
    ["compressed", { compression: true }],
    ["replicas", { replicas: 1 }],
    ["markers", { markerTTL: 60_000 }],
    ["indirect", { allow_direct: false }],
    ["history-over", { history: 65 }],
    ["three", { replicas: 3 }],
  ]) {
    let kv;
    try {
      kv = await w.kvm.create(name, options);
    } catch (error) {
      w.say(`create ${name}`, failure(error));
      continue;
    }
    await kv.put("k", "value ".repeat(20));
    await status(w, `status ${name}`, kv);
    await w.raw(`stream of ${name}`, `$JS.API.STREAM.INFO.KV_${name}`);
    await kv.destroy();
  }
}

async function kvManage(w) {
  const first = await w.kvm.create("first", { history: 2 });
  const other = await w.kvm.create("second", { storage: StorageType.Memory });
  await w.attempt("create the same again", () => w.kvm.create("first", { history: 2 }));
  await w.attempt("create with another history", () => w.kvm.create("first", { history: 3 }));
  const names = [];
  for await (const s of w.kvm.list()) names.push(`${s.bucket} ${s.history} ${s.values}`);
  w.say("list", { value: names.sort() });
  await w.attempt("open", () => w.kvm.open("first"));
  await w.attempt("open a missing one", async () => (await w.kvm.open("missing")).status());
  await w.attempt("delete first", () => first.destroy());
  await w.attempt("delete first again", () => first.destroy());
  await w.attempt("delete second", () => other.destroy());
  await w.attempt("get from a deleted bucket", () => first.get("k"));
  await w.attempt("put to a deleted bucket", () => first.put("k", "v"));
}

async function kvValues(w) {
  for (const storage of [StorageType.File, StorageType.Memory]) {
    const kv = await w.kvm.create("values", { history: 3, storage });
    for (const value of ["one", "two", "three", "four"]) await w.attempt("put", () => kv.put("k", value));
    await w.attempt("get", () => kv.get("k"));
    for (const revision of [2, 1, 99]) await w.attempt(`get revision ${revision}`, () => kv.get("k", { revision }));
    await w.attempt("get a revision of another key", () => kv.get("other", { revision: 2 }));
    await w.attempt("get a missing key", () => kv.get("missing"));
    await w.attempt("put nothing", () => kv.put("empty", ""));
    await w.attempt("get nothing", () => kv.get("empty"));
    const created = await w.attempt("create", () => kv.create("new", "fresh"));
    await w.attempt("create again", () => kv.create("new", "again"));
    await w.attempt("update", () => kv.update("new", "second", created));
    await w.attempt("update late", () => kv.update("new", "late", created));
    await w.attempt("update a missing key", () => kv.update("unborn", "x", 7));
    await w.attempt("update from zero", () => kv.update("unborn", "x", 0));
    await w.attempt("delete", () => kv.delete("new"));
    await w.attempt("get deleted", () => kv.get("new"));
    await w.attempt("delete again", () => kv.delete("new"));
    await w.attempt("delete a missing key", () => kv.delete("nothing"));
    const revision = await w.attempt("create after delete", () => kv.create("new", "reborn"));
    await w.attempt("delete at a wrong revision", () => kv.delete("new", { previousSeq: 1 }));
    await w.attempt("delete at the revision", () => kv.delete("new", { previousSeq: revision }));
    await w.attempt("purge at a wrong revision", () => kv.purge("k", { previousSeq: 1 }));
    await w.attempt("purge", () => kv.purge("k"));
    await history(w, "history after purge", kv, "k");
    await w.attempt("create after purge", () => kv.create("k", "after purge"));
    await status(w, "status", kv);
    await w.raw("stream", "$JS.API.STREAM.INFO.KV_values", '{"subjects_filter":">"}');
    await kv.destroy();
  }
}

async function kvNames(w) {
  for (const name of ["", "a.b", "a b", "a*", ">", "a/b", "é", "ok_-9"]) {
    await w.attempt(`bucket ${name}`, async () => (await w.kvm.create(name)).destroy());
  }
  const kv = await w.kvm.create("names");
  for (const key of ["", "a b", ".a", "a.", "a..b", "a*", ">", "a/b", "é", "A=b-_c.1/x", "_kv", "k".repeat(300)]) {
    await w.attempt(`put ${key}`, () => kv.put(key, "x"));
    await w.attempt(`get ${key}`, () => kv.get(key));
  }
  await kv.destroy();
}

async function kvLimits(w) {
  const kv = await w.kvm.create("limits", { maxValueSize: 100, max_bytes: 1000 });
  for (const size of [70, 99, 100, 101, 5000]) await w.attempt(`put ${size}`, () => kv.put(`size${size}`, "x".repeat(size)));
  for (let i = 0; i < 10; i++) await w.attempt("fill", () => kv.put(`fill${i}`, "y".repeat(90)));
  await w.attempt("put over an older value when full", () => kv.put("fill0", "z"));
  await w.attempt("delete when full", () => kv.delete("fill1"));
  await w.attempt("purge when full", () => kv.purge("fill1"));
  await status(w, "status when full", kv);
  await kv.destroy();
  const payload = await w.kvm.create("payload");
  await w.attempt("put a value as large as a message", () => payload.put("big", new Uint8Array(1 << 20)));
  await w.attempt("put a value larger than a message", () => payload.put("bigger", new Uint8Array((1 << 20) + 1)));
  await payload.destroy();
}

async function kvHistory(w) {
  for (const depth of [1, 5, 64]) {
    const kv = await w.kvm.create(`history-${depth}`, { history: depth });
    for (let i = 0; i < 8; i++) {
      await kv.put("a.b", String(i));
      await kv.put("a.c", String(i));
    }
    await kv.delete("a.b");
    await history(w, `history of depth ${depth}`, kv, "a.b");
    await history(w, `wildcard at depth ${depth}`, kv, "a.*");
    await history(w, "missing key", kv, "nothing");
    await kv.destroy();
  }
}

async function kvKeys(w) {
  const kv = await w.kvm.create("keys", { history: 5 });
  const keys = async (filter) => {
    const found = [];
    for await (const key of await kv.keys(filter)) found.push(key);
    return found.sort();
  };
  await w.attempt("keys of an empty bucket", () => keys());
  for (const key of ["a.b.c", "a.b.d", "a.x", "b", "c.1", "c.2", "gone", "purged"]) {
    await kv.put(key, "v");
    await kv.put(key, "v");
  }
  await kv.delete("gone");
  await kv.purge("purged");
  await w.attempt("keys", () => keys());
  for (const filter of ["a.>", "*", ["c.*", "b"], ["a.b.*", "c.1", "nothing"], "nothing", "gone"]) {
    await w.attempt(`filter ${filter}`, () => keys(filter));
  }
  await kv.destroy();
}

async function kvTTL(w) {
  const kv = await w.kvm.create("markers", { markerTTL: 60_000 });
  const watch = new Watch(await kv.watch());
  await w.attempt("create with a TTL", () => kv.create("short", "x", "1s"));
  await watch.take(w, "watch", 2);
  await w.attempt("get expired", () => kv.get("short"));
  await w.raw("marker", "$JS.API.STREAM.MSG.GET.KV_markers", '{"last_by_subj":"$KV.markers.short"}');
  await w.attempt("create after expiry", () => kv.create("short", "again"));
  await w.attempt("create with a TTL under a second", () => kv.create("tiny", "x", "1ms"));
  await w.attempt("purge with a TTL", () => kv.purge("short", { ttl: "1s" }));
  await watch.take(w, "watch", 2);
  await watch.extra(w, "watch");
  await kv.destroy();
  const aged = await w.kvm.create("aged", { ttl: 1000, markerTTL: 2000 });
  const old = new Watch(await aged.watch());
  await aged.put("k", "x");
  await old.take(w, "watch with max age", 2);
  old.iterator.stop();
  await aged.destroy();
}

/** Watches a bucket with known values from before and writes while the watcher looks on. */
async function watchFresh(w, step, first, further, options) {
  const kv = await w.kvm.create(`fresh-${step.replaceAll(" ", "-")}`, { history: 5 });
  for (const [key, value] of [["a.1", "one"], ["a.1", "two"], ["a.2", "one"], ["b", "one"], ["gone", "one"]]) {
    await kv.put(key, value);
  }
  await kv.delete("gone");
  try {
    const watch = new Watch(await kv.watch(options));
    await watch.take(w, step, first);
    await kv.put("a.1", "further");
    await kv.put("b", "further");
    await kv.delete("a.2");
    await kv.purge("b");
    await watch.take(w, step, further);
    await watch.extra(w, step);
  } catch (error) {
    w.say(step, failure(error));
  }
  await kv.destroy();
}

async function kvWatch(w) {
  await watchFresh(w, "all", 4, 4, {});
  await watchFresh(w, "one key", 1, 2, { key: "b" });
  await watchFresh(w, "missing key", 0, 0, { key: "nothing" });
  await watchFresh(w, "wildcard", 2, 2, { key: "a.*" });
  await watchFresh(w, "two filters", 2, 3, { key: ["a.1", "b"] });
  await watchFresh(w, "history", 6, 4, { include: "history" });
  await watchFresh(w, "updates only", 0, 4, { include: "updates" });
  await watchFresh(w, "ignore deletes", 3, 4, { ignoreDeletes: true });
  await watchFresh(w, "meta only", 4, 4, { headers_only: true });
  await watchFresh(w, "resume", 3, 4, { resumeFromRevision: 4 });
  await w.attempt("bad key", async () => {
    const kv = await w.kvm.create("bad");
    try {
      await kv.watch({ key: "a b" });
    } finally {
      await kv.destroy();
    }
  });
}

async function kvWatchWriting(w) {
  const kv = await w.kvm.create("writing");
  const writes = 1000;
  const all = new Watch(await kv.watch());
  const some = new Watch(await kv.watch({ key: "k.1.*" }));
  const acks = [];
  for (let i = 0; i < writes; i++) acks.push(w.js.publish(`$KV.writing.k.${i % 10}.${i}`, String(i), { timeout: PATIENCE_MS }));
  for (const [step, watch, expected] of [["all", all, writes], ["some", some, writes / 10]]) {
    let last = 0;
    let ordered = true;
    for (let count = 0; count < expected; count++) {
      const { value } = await bounded(watch.next(), step);
      ordered &&= value.revision > last;
      last = value.revision;
    }
    w.say(step, { count: expected, last, ordered });
    await watch.extra(w, step);
  }
  await Promise.all(acks);
  await kv.destroy();
}

async function kvTwo(w) {
  const a = await w.kvm.create("two", { history: 5 });
  const b = await w.kvm.create("two-b", { history: 5, storage: StorageType.Memory });
  const watches = [["watch a", new Watch(await a.watch())], ["watch b", new Watch(await b.watch())]];
  for (let i = 0; i < 3; i++) {
    await w.attempt("put to a", () => a.put("k", `a${i}`));
    await w.attempt("put to b", () => b.put("k", `b${i}`));
  }
  for (const [step, watch] of watches) {
    await watch.take(w, step, 3);
    await watch.extra(w, step);
  }
  await a.destroy();
  await w.attempt("b after the end of a", () => b.get("k"));
  await b.destroy();
}

async function kvPurgeDeletes(w) {
  const kv = await w.kvm.create("graves", { history: 5 });
  for (const key of ["a", "b", "c"]) for (let i = 0; i < 3; i++) await kv.put(key, "v");
  await kv.delete("a");
  await kv.purge("b");
  if (kv.purgeDeletes) {
    await w.attempt("young markers stay", async () => (await kv.purgeDeletes()).purged ?? "ok");
    await w.attempt("all markers go", async () => (await kv.purgeDeletes(-1)).purged ?? "ok");
  }
  for (const key of ["a", "b", "c"]) await history(w, `${key} after`, kv, key);
  await status(w, "status", kv);
  await kv.destroy();
}

async function connected(nc) {
  for (;;) {
    try {
      await nc.flush();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

async function kvRestart(w) {
  const kv = await w.kvm.create("restart", { history: 10 });
  for (let i = 0; i < 5; i++) await kv.put(`k${i}`, "before");
  const watch = new Watch(await kv.watch());
  await watch.take(w, "watch", 5);
  for (const signal of ["KILL", "TERM"]) {
    for (let i = 0; i < 5; i++) await w.attempt(`put before ${signal}`, () => kv.put(`k${i}`, `before ${signal}`));
    await watch.take(w, `watch before ${signal}`, 5);
    await w.ask(signal);
    await bounded(connected(w.nc), "the connection comes back");
    for (let i = 0; i < 5; i++) await w.attempt(`put after ${signal}`, () => kv.put(`k${i}`, `after ${signal}`));
    await watch.take(w, `watch over ${signal}`, 5);
    await history(w, `history after ${signal}`, kv, "k2");
  }
  await watch.extra(w, "watch");
  await status(w, "status", kv);
  await kv.destroy();
}

function infoFields(info) {
  return {
    name: info.name, description: info.description, size: info.size, chunks: info.chunks, digest: info.digest,
    deleted: info.deleted, bucket: info.bucket, options: info.options, metadata: info.metadata,
    headers: info.headers?.keys ? info.headers.keys().map((k) => [k, info.headers.values(k)]) : info.headers,
  };
}

async function objects(w) {
  const objm = new Objm(w.js);
  const store = await objm.create("things", { description: "a store", metadata: { a: "b" }, max_bytes: 1 << 26 });
  await w.raw("stream", "$JS.API.STREAM.INFO.OBJ_things");
  const show = async (step, operation) => {
    try {
      const info = await operation();
      w.say(step, info ? infoFields(info) : { value: String(info) });
    } catch (error) {
      w.say(step, failure(error));
    }
  };
  const blob = (data) => new ReadableStream({ start(c) { c.enqueue(data); c.close(); } });
  const bytes = (string) => new TextEncoder().encode(string);
  const read = async (name) => {
    const data = await store.getBlob(name);
    return data === null ? null : `${data.length} ${createHash("sha256").update(data).digest("hex")}`;
  };
  const big = Uint8Array.from({ length: 700_000 }, (_, i) => (i * 7) % 251);
  const h = headers();
  h.append("X", "1");
  h.append("X", "2");
  await show("put small", () => store.putBlob({ name: "small" }, bytes("a small thing")));
  await show("put empty", () => store.putBlob({ name: "empty" }, new Uint8Array(0)));
  await show("put big", () => store.put({
    name: "folder/big thing", description: "big", headers: h, metadata: { k: "v" }, options: { max_chunk_size: 65536 },
  }, blob(big)));
  await w.attempt("get big", () => read("folder/big thing"));
  await w.attempt("get small", () => read("small"));
  await w.attempt("get missing", () => read("missing"));
  await show("info", () => store.info("folder/big thing"));
  await w.attempt("rename", () => store.update("small", { name: "tiny", description: "renamed" }));
  await show("put again", () => store.putBlob({ name: "tiny" }, bytes("another text")));
  await show("link", async () => store.link("link", await store.info("tiny")));
  await w.attempt("get through the link", () => read("link"));
  const list = async (step) => {
    const infos = await store.list();
    for (const info of infos.sort((a, b) => (a.name < b.name ? -1 : 1))) w.say(step, infoFields(info));
  };
  await list("list");
  await w.attempt("delete", async () => (await store.delete("tiny")).purged);
  await w.attempt("delete missing", async () => (await store.delete("missing")).purged);
  await w.attempt("get deleted", () => read("tiny"));
  await list("list after delete");
  const watch = (await store.watch({ includeHistory: true }))[Symbol.asyncIterator]();
  for (let i = 0; i < 4; i++) {
    const { value } = await bounded(watch.next(), "watch");
    w.say("watch", value === null ? { mark: true } : infoFields(value));
  }
  const s = await store.status();
  w.say("status", { bucket: s.bucket, description: s.description, ttl: s.ttl, sealed: s.sealed, storage: s.storage, replicas: s.replicas });
  await w.attempt("seal", () => store.seal());
  await show("put to a sealed store", () => store.putBlob({ name: "late" }, bytes("x")));
  await w.attempt("delete store", () => store.destroy());
  await w.attempt("open a missing store", () => objm.open("things"));
}

async function fill(w, subject, count) {
  for (let i = 1; i <= count; i++) await w.js.publish(subject, `message ${i}`);
}

async function jsPublish(w) {
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

async function jsStream(w) {
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

async function jsPull(w) {
  await w.jsm.streams.add({ name: "PULL", subjects: ["pull.>"] });
  await fill(w, "pull.a", 6);
  await fill(w, "pull.b", 6);
  await w.jsm.consumers.add("PULL", {
    durable_name: "d", ack_policy: AckPolicy.Explicit, ack_wait: second, max_deliver: 3,
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
    if (seen === 4) await fill(w, "pull.c", 2);
    if (seen === 6) break;
  }
  await w.attempt("create another under the same name", () => w.jsm.consumers.add("PULL", { durable_name: "f", filter_subject: "pull.x" }));
  await w.attempt("missing consumer", () => w.jsm.consumers.info("PULL", "missing"));
  await w.attempt("delete consumer", () => w.jsm.consumers.delete("PULL", "f"));
  await w.attempt("delete consumer again", () => w.jsm.consumers.delete("PULL", "f"));
  await w.jsm.streams.delete("PULL");
}

async function jsOrdered(w) {
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

async function jsPush(w) {
  await w.jsm.streams.add({ name: "PUSH", subjects: ["push.>"] });
  await fill(w, "push.a", 6);
  await w.jsm.consumers.add("PUSH", {
    durable_name: "p", deliver_subject: "deliver.here", ack_policy: AckPolicy.Explicit, ack_wait: 30 * second,
    idle_heartbeat: second / 2, flow_control: true, max_deliver: 4,
  });
  const consumer = await w.js.consumers.getPushConsumer("PUSH", "p");
  let seen = 0;
  // Six messages, one of them a second time after the nak and one after the delayed nak.
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
    if (seen === 8) break;
  }
  await w.raw("consumer", "$JS.API.CONSUMER.INFO.PUSH.p");
  await w.jsm.streams.delete("PUSH");
}

async function core(w) {
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

async function services(w) {
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

const scenarios = {
  "kv-bucket": kvBucket, "kv-manage": kvManage, "kv-values": kvValues, "kv-names": kvNames, "kv-limits": kvLimits,
  "kv-history": kvHistory, "kv-keys": kvKeys, "kv-ttl": kvTTL, "kv-watch": kvWatch, "kv-watch-writing": kvWatchWriting,
  "kv-two": kvTwo, "kv-purge-deletes": kvPurgeDeletes, objects, "js-publish": jsPublish, "js-stream": jsStream,
  "js-pull": jsPull, "js-ordered": jsOrdered, "js-push": jsPush, core, services, "kv-restart": kvRestart,
};

const nc = await connect({ servers: process.argv[2], maxReconnectAttempts: -1, reconnectTimeWait: 50, reconnectJitter: 0 });
const js = jetstream(nc);
const jsm = await jetstreamManager(nc);
for (const [name, scenario] of Object.entries(scenarios)) {
  if (process.argv[3] !== "all" && process.argv[3] !== name) continue;
  const w = new World(name, nc, js, jsm);
  try {
    await scenario(w);
  } catch (error) {
    w.say("stopped", failure(error));
  }
}
await nc.close();
process.exit(0);
