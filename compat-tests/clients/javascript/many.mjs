// A bucket with many keys.

import { createInbox } from "@nats-io/transport-node";
import { bounded } from "./world.mjs";

const COUNT = 100_000;
/** Acknowledgements that are waited for at a time. */
const BATCH = 2_000;

async function all(iterator) {
  const found = [];
  for await (const one of iterator) found.push(one);
  return found;
}

async function answered(acks) {
  for (let i = 0; i < BATCH; i++) {
    const { value } = await acks.next();
    if (value.json().seq === undefined) throw new Error(value.string());
  }
}

/** Publishes without waiting for each acknowledgement; a promise for each would take most of the time. */
async function write(w) {
  const inbox = createInbox();
  const acks = w.nc.subscribe(inbox)[Symbol.asyncIterator]();
  for (let from = 0; from < COUNT; from += BATCH) {
    for (let i = from; i < from + BATCH; i++) {
      w.nc.publish(`$KV.many.group${i % 100}.key${i}`, `value ${i}`, { reply: inbox });
    }
    await bounded(answered(acks), "acknowledgements");
  }
  await acks.return();
}

/** Writes many keys, lists them and watches them. */
export async function kvMany(w) {
  const kv = await w.kvm.create("many");
  await write(w);
  w.say("status", { values: (await kv.status()).values });
  w.say("keys", { value: new Set(await all(await kv.keys())).size });
  w.say("keys of a group", { value: (await all(await kv.keys("group7.>"))).length });
  let count = 0;
  let bytes = 0;
  for await (const entry of await kv.watch()) {
    count++;
    bytes += entry.value.length;
    if (entry.delta === 0) break;
  }
  w.say("initial values", { count, bytes });
  for (const i of [0, 4711, COUNT - 1]) await w.attempt("get", () => kv.get(`group${i % 100}.key${i}`));
  await kv.destroy();
}
