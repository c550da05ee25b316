// Buckets and their values.

import { StorageType } from "@nats-io/jetstream";
import { Watch } from "./watch.mjs";
import { describe, failure } from "./world.mjs";

export async function status(w, step, kv) {
  const s = await kv.status();
  w.say(step, {
    bucket: s.bucket, values: s.values, history: s.history, ttl: s.ttl, marker_ttl: s.markerTTL, size: s.size,
    storage: s.storage, replicas: s.replicas, max_bytes: s.max_bytes, max_value: s.maxValueSize,
    compression: s.compression, description: s.description, metadata: s.metadata,
  });
}

export async function history(w, step, kv, key) {
  try {
    const entries = await kv.history({ key });
    for await (const entry of entries) w.say(step, describe(entry));
    w.say(step, { end: true });
  } catch (error) {
    w.say(step, failure(error));
  }
}

export async function kvBucket(w) {
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
    ["republished", { republish: { src: ">", dest: "again.>" } }],
    ["republished", { republish: { src: ">", dest: "$KV.republished.>" } }],
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

export async function kvManage(w) {
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

export async function kvValues(w) {
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

export async function kvNames(w) {
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

export async function kvLimits(w) {
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

export async function kvHistory(w) {
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

export async function kvKeys(w) {
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

export async function kvTTL(w) {
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

export async function kvPurgeDeletes(w) {
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
