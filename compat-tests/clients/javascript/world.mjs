// What a scenario works with, and how what it sees is printed.

import { createInterface } from "node:readline";
import { Kvm } from "@nats-io/kv";

/** Bounds every wait for something that must happen. */
export const PATIENCE_MS = 40_000;
/** Values longer than this are printed by their length. */
const SHOWN_MAX = 64;
export const text = new TextDecoder();
export const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export function bounded(promise, what) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`silent: ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

export function failure(error) {
  const seen = { error: error.name, text: error.message };
  if (error.code !== undefined) seen.code = error.code;
  if (error.status !== undefined) seen.status = error.status;
  return seen;
}

function shorten(bytes) {
  return bytes.length > SHOWN_MAX ? `${bytes.length} bytes` : text.decode(bytes);
}

export function describe(result) {
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

/** What a scenario works with. */
export class World {
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
