// Walks through the list of KV steps with the @nats-io packages and prints what it sees.

import { createInterface } from "node:readline";
import { connect } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";

const text = new TextDecoder();

function say(step, seen) {
  console.log(JSON.stringify({ step, ...seen }));
}

function describe(entry) {
  if (entry === null || entry === undefined) return { result: String(entry) };
  if (typeof entry !== "object") return { result: entry };
  return {
    key: entry.key,
    value: text.decode(entry.value),
    revision: entry.revision,
    operation: entry.operation,
    length: entry.length,
  };
}

async function attempt(step, operation) {
  try {
    const result = await operation();
    say(step, describe(result));
    return result;
  } catch (error) {
    say(step, { error: error.name, text: error.message });
    return undefined;
  }
}

async function values(kv) {
  for (const value of ["one", "two", "three", "four"]) {
    await attempt("put", () => kv.put("k", value));
  }
  await attempt("get", () => kv.get("k"));
  await attempt("get revision", () => kv.get("k", { revision: 2 }));
  await attempt("get dropped revision", () => kv.get("k", { revision: 1 }));
  await attempt("get missing", () => kv.get("missing"));
  const created = await attempt("create", () => kv.create("new", "fresh"));
  await attempt("create again", () => kv.create("new", "again"));
  await attempt("update", () => kv.update("new", "second", created));
  await attempt("update late", () => kv.update("new", "late", created));
  await attempt("delete", () => kv.delete("new"));
  await attempt("get deleted", () => kv.get("new"));
  await attempt("create after delete", () => kv.create("new", "reborn"));
  await attempt("delete at a wrong revision", () => kv.delete("new", { previousSeq: 1 }));
  await history(kv, "history");
  await attempt("purge", () => kv.purge("k"));
  await history(kv, "history after purge");
  for (const key of ["", "a b", ".a", "a.", "a*", "a/b", "A=b-_c.1"]) {
    await attempt("put " + key, () => kv.put(key, "x"));
  }
  await attempt("put too big", () => kv.put("big", "x".repeat(65537)));
  for (const filter of [undefined, ["a/*", "n*", "new"]]) {
    const keys = [];
    for await (const key of await kv.keys(filter)) keys.push(key);
    say("keys", { filter, keys: keys.sort() });
  }
}

async function history(kv, step) {
  for (const key of ["k", "new", "nothing"]) {
    const entries = [];
    for await (const entry of await kv.history({ key })) entries.push(describe(entry));
    say(step, { key, entries });
  }
}

async function follow(step, watcher, last, after) {
  for await (const entry of watcher) {
    say(step, describe(entry));
    if (entry.key === last && entry.revision > after) break;
  }
  watcher.stop();
}

async function watches(kv) {
  const choices = {
    "all": {},
    "history": { include: "history" },
    "updates only": { include: "updates" },
    "ignore deletes": { ignoreDeletes: true },
    "meta only": { headers_only: true },
    "one key": { key: "end" },
    "resume": { resumeFromRevision: 5 },
  };
  for (const [name, options] of Object.entries(choices)) {
    const watcher = await kv.watch(options);
    // The changes shall come after the initial values.
    await new Promise((resolve) => setTimeout(resolve, 150));
    await kv.put("w", name);
    await kv.delete("w");
    const revision = await kv.put("end", name);
    await follow("watch " + name, watcher, "end", revision - 1);
  }
}

async function refused(kvm) {
  for (const bucket of ["", "a.b", "a b", "*"]) {
    await attempt("create bucket " + bucket, async () => (await kvm.create(bucket)).bucketName());
  }
  await attempt("history too long", async () => void await kvm.create("H", { history: 65 }));
  await attempt("replicas", async () => void await kvm.create("R", { replicas: 3 }));
  await attempt("bucket missing", async () => void await (await kvm.open("nothing")).status());
  await kvm.create("S");
  await attempt("bucket again, other history", async () => void await kvm.create("S", { history: 2 }));
}

async function ttl(kvm) {
  const kv = await kvm.create("T", { markerTTL: 1000, compression: true });
  const watcher = await kv.watch();
  await attempt("create with ttl", () => kv.create("short", "x", "1s"));
  await follow("expiry", watcher, "short", 1);
  await attempt("get expired", () => kv.get("short"));
}

async function objects(js) {
  const store = await new Objm(js).create("O");
  const content = new TextEncoder().encode("0123456789abcdef".repeat(20000));
  const info = await store.putBlob({ name: "blob" }, content);
  say("object put", { size: info.size, chunks: info.chunks, digest: info.digest });
  const back = await store.getBlob("blob");
  say("object get", { equal: Buffer.compare(Buffer.from(back), Buffer.from(content)) === 0 });
  await attempt("object missing", () => store.get("missing"));
  await attempt("object delete", async () => (await store.delete("blob")).success);
  await attempt("object deleted", () => store.get("blob"));
}

async function restart(kvm) {
  const kv = await kvm.create("W");
  const watcher = await kv.watch();
  await kv.put("before", "1");
  console.log('{"marker":"restart"}');
  const lines = createInterface({ input: process.stdin });
  await new Promise((resolve) => lines.once("line", resolve));
  lines.close();
  for (let i = 0; i < 100; i++) {
    try {
      await kv.put("after", "2");
      break;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  await follow("watch over a restart", watcher, "after", 0);
  await attempt("get after restart", () => kv.get("before"));
}

const connection = await connect({ servers: process.argv[2], maxReconnectAttempts: -1, reconnectTimeWait: 50 });
const js = jetstream(connection);
const kvm = new Kvm(js);
// nats-server removes the folder of the streams some time after the last of them was deleted, and cannot make a
// stream meanwhile; with this one there is always a last one.
await kvm.create("ANCHOR");
for (const storage of ["file", "memory"]) {
  const kv = await kvm.create("B", { history: 3, description: "words", storage, maxValueSize: 65536 });
  const status = await kv.status();
  say("status", { bucket: status.bucket, history: status.history, ttl: status.ttl, values: status.values });
  await values(kv);
  await watches(kv);
  await attempt("purge deletes", async () => (await kv.purgeDeletes(-1)).purged);
  await history(kv, "after purge of deletes");
  await attempt("delete bucket", () => kv.destroy());
}
await refused(kvm);
await ttl(kvm);
await objects(js);
await restart(kvm);
await connection.close();
