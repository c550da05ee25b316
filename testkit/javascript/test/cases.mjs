// The helper with the client that people use it with, for whichever runner gives its functions.

import assert from "node:assert/strict";
import { jetstream } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";
import { JetKV, LabError } from "../index.mjs";

const HOUR_MS = 3_600_000;
// A busy machine takes its time.
const timeout = 60_000;

export function cases({ after, beforeEach, describe, it }) {
  describe("a server for tests", async () => {
    const server = await JetKV.start();
    const connection = await connect({ servers: server.url, timeout });
    after(async () => {
      await connection.close();
      await server.stop();
    });
    beforeEach(() => server.reset());
    const bucket = (options) => new Kvm(jetstream(connection, { timeout })).create("b", options);

    it("lets keys expire", async () => {
      const kv = await bucket({ ttl: HOUR_MS });
      await kv.put("k", "v");
      await server.advance("59m");
      assert.equal((await kv.get("k")).string(), "v");
      await server.advance(HOUR_MS);
      assert.equal(await kv.get("k"), null);
    });

    it("loses acknowledgements", async () => {
      const kv = await bucket();
      await server.fault("ack_lost", { subject: "$KV.b.k" }, { times: 1 });
      await assert.rejects(connection.request("$KV.b.k", "v", { timeout: 200 }));
      assert.equal((await kv.get("k")).string(), "v");
      await server.clearFaults();
      assert.equal(await kv.put("k", "w"), 2);
    });

    it("is empty at the beginning of each test", async () => {
      const kv = await bucket();
      assert.equal(await kv.put("k", "v"), 1);
    });

    it("says what is wrong", async () => {
      await assert.rejects(server.fault("flood"), (error) => error instanceof LabError && error.code === 400);
    });
  });
}
