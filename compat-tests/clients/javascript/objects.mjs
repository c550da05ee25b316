// The object store.

import { createHash } from "node:crypto";
import { headers } from "@nats-io/transport-node";
import { Objm } from "@nats-io/obj";
import { bounded, failure } from "./world.mjs";

function infoFields(info) {
  return {
    name: info.name, description: info.description, size: info.size, chunks: info.chunks, digest: info.digest,
    deleted: info.deleted, bucket: info.bucket, options: info.options, metadata: info.metadata,
    headers: info.headers?.keys ? info.headers.keys().map((k) => [k, info.headers.values(k)]) : info.headers,
  };
}

export async function objects(w) {
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
