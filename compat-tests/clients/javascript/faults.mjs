// What the harness asks for, line by line, while it has the server fail.

import { jetstream } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { bounded, failure, lines, PATIENCE_MS, text } from "./world.mjs";

/** Bounds what is to come too late. */
const BRIEF_MS = 250;

export async function faults(w) {
  const patient = await w.kvm.open("b");
  const hasty = await new Kvm(jetstream(w.nc, { timeout: BRIEF_MS })).open("b");
  let sub, messages;
  const verbs = {
    put: async ({ kv }, key, value) => ({ value: await kv.put(key, value) }),
    get: async ({ kv }, key) => {
      const entry = await kv.get(key);
      return entry ? { value: entry.string(), revision: entry.revision } : { value: null };
    },
    info: async () => {
      await w.jsm.streams.info("KV_b");
      return { value: "ok" };
    },
    keys: async ({ kv }) => {
      const found = [];
      for await (const key of await kv.keys()) found.push(key);
      return { value: found };
    },
    request: async ({ timeout }, subject, value) => ({ value: (await w.nc.request(subject, value, { timeout })).string() }),
    publish: async (_, subject, value) => {
      w.nc.publish(subject, value);
      return { value: "ok" };
    },
    subscribe: async (_, subject) => {
      sub?.unsubscribe();
      sub = w.nc.subscribe(subject);
      messages = sub[Symbol.asyncIterator]();
      await w.nc.flush();
      return { value: "ok" };
    },
    next: async () => ({ value: text.decode((await bounded(messages.next(), "a message")).value.data) }),
  };
  w.say("ready", {});
  for (;;) {
    const line = await lines.next();
    if (line.done) return;
    const [name, ...words] = line.value.split(" ");
    const verb = name.replace(/-briefly$/, "");
    const how = verb === name ? { kv: patient, timeout: PATIENCE_MS } : { kv: hasty, timeout: BRIEF_MS };
    try {
      w.say(name, await verbs[verb](how, ...words));
    } catch (error) {
      w.say(name, failure(error));
    }
  }
}
