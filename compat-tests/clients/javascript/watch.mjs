// Watchers, and what they see while values are written and while the server is stopped and started.

import { StorageType } from "@nats-io/jetstream";
import { history, status } from "./kv.mjs";
import { bounded, describe, failure, PATIENCE_MS } from "./world.mjs";

/** How long nothing more may come before a watcher counts as silent. */
const QUIET_MS = 30;
/** Values that are written while watchers look on. */
const WRITES = 1000;

/** Leaves out how many more values were on their way, which depends on the moment. */
function update(entry) {
  const seen = describe(entry);
  delete seen.delta;
  return seen;
}

/** A watcher whose entries can be taken one at a time. */
export class Watch {
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
    const none = new Promise((resolve) => setTimeout(resolve, QUIET_MS, undefined));
    const one = await Promise.race([this.next(), none]);
    if (one !== undefined && !one.done) w.say(step, { unexpected: update(one.value) });
    this.iterator.stop();
  }
}

/**
 * Watches a bucket with known values from before and writes while the watcher looks on. What a purge takes away is seen
 * first: whether it would come otherwise depends on the moment.
 */
async function watchFresh(w, step, [first, puts, removals], options) {
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
    await watch.take(w, step, puts);
    await kv.delete("a.2");
    await kv.purge("b");
    await watch.take(w, step, removals);
    await watch.extra(w, step);
  } catch (error) {
    w.say(step, failure(error));
  }
  await kv.destroy();
}

export async function kvWatch(w) {
  // Each watcher with what it sees at first, after two puts and after two removals.
  for (const [step, counts, options] of [
    ["all", [4, 2, 2], {}],
    ["one key", [1, 1, 1], { key: "b" }],
    ["missing key", [0, 0, 0], { key: "nothing" }],
    ["wildcard", [2, 1, 1], { key: "a.*" }],
    ["two filters", [2, 2, 1], { key: ["a.1", "b"] }],
    ["history", [6, 2, 2], { include: "history" }],
    ["updates only", [0, 2, 2], { include: "updates" }],
    ["ignore deletes", [3, 2, 1], { ignoreDeletes: true }],
    ["meta only", [4, 2, 2], { headers_only: true }],
    ["resume", [3, 2, 2], { resumeFromRevision: 4 }],
  ]) {
    await watchFresh(w, step, counts, options);
  }
  await w.attempt("bad key", async () => {
    const kv = await w.kvm.create("bad");
    try {
      await kv.watch({ key: "a b" });
    } finally {
      await kv.destroy();
    }
  });
}

export async function kvWatchWriting(w) {
  const kv = await w.kvm.create("writing");
  const all = new Watch(await kv.watch());
  const some = new Watch(await kv.watch({ key: "k.1.*" }));
  const acks = [];
  for (let i = 0; i < WRITES; i++) acks.push(w.js.publish(`$KV.writing.k.${i % 10}.${i}`, String(i), { timeout: PATIENCE_MS }));
  for (const [step, watch, expected] of [["all", all, WRITES], ["some", some, WRITES / 10]]) {
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

export async function kvTwo(w) {
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

export async function kvRestart(w) {
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
