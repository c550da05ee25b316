// Buckets that mirror another one, or gather several. The library looks for keys of a mirror under its own name,
// where none are, and asks for an API that is not there where it writes by one.

import { history, status } from "./kv.mjs";
import { PATIENCE_MS } from "./world.mjs";

/** Waits until a bucket's stream has got as far as a sequence, and reports what it is configured to take. */
async function arrived(w, step, bucket, lastSeq) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const { config, state } = await w.jsm.streams.info(`KV_${bucket}`);
    if (state.last_seq >= lastSeq) {
      delete config.metadata;
      return w.say(step, { config, messages: state.messages, last: state.last_seq });
    }
    if (Date.now() > deadline) throw new Error(`${bucket} has ${state.last_seq} of ${lastSeq}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Reads keys, their values and the history of the first. */
async function all(w, step, kv, keys) {
  for (const key of keys) await w.attempt(`${step}, get ${key}`, () => kv.get(key));
  await history(w, `${step}, history`, kv, keys[0]);
  const found = [];
  for await (const key of await kv.keys()) found.push(key);
  w.say(`${step}, keys`, { value: found.sort() });
}

export async function kvMirrors(w) {
  const a = await w.kvm.create("A", { history: 3 });
  const b = await w.kvm.create("B");
  for (const value of ["one", "two"]) await a.put("k", value);
  await a.put("gone", "x");
  await a.delete("gone");
  await b.put("l", "other");
  const m = await w.kvm.create("M", { history: 3, mirror: { name: "A" } });
  await arrived(w, "the mirror", "M", 4);
  await all(w, "mirror", m, ["k", "gone"]);
  await status(w, "mirror", m);
  await w.attempt("put by the mirror", () => m.put("k", "by the mirror"));
  await w.attempt("get of the origin", () => a.get("k"));
  await w.attempt("delete by the mirror", () => m.delete("k"));
  await all(w, "mirror, opened", await w.kvm.open("M"), ["k", "gone"]);
  const s = await w.kvm.create("S", { history: 3, sources: [{ name: "B" }] });
  await arrived(w, "the gathered", "S", 1);
  const sources = [{ name: "A", subject_transforms: [{ src: "$KV.A.>", dest: "$KV.T.>" }] }];
  const t = await w.kvm.create("T", { history: 3, sources });
  await arrived(w, "the gathered, transformed", "T", 4);
  await w.attempt("put of its own", () => s.put("own", "here"));
  await all(w, "gathered", s, ["l", "own"]);
  await all(w, "gathered, transformed", t, ["k", "gone"]);
  await w.attempt("delete of what was gathered", () => s.delete("l"));
  await w.attempt("get of the origin", () => b.get("l"));
  await w.attempt("a mirror of itself", () => w.kvm.create("X", { mirror: { name: "X" } }));
  for (const kv of [t, s, m, b, a]) await w.attempt("delete", () => kv.destroy());
}
