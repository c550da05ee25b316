// Walks through the scenarios of ../README.md with the @nats-io packages and prints one JSON line for each thing that it sees.

import { connect } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { core, services } from "./core.mjs";
import { faults } from "./faults.mjs";
import { jsOrdered, jsPublish, jsPull, jsPush, jsStream } from "./jetstream.mjs";
import {
  kvBucket, kvHistory, kvKeys, kvLimits, kvManage, kvNames, kvPurgeDeletes, kvTTL, kvValues,
} from "./kv.mjs";
import { kvMany } from "./many.mjs";
import { kvMirrors } from "./mirrors.mjs";
import { objects } from "./objects.mjs";
import { kvRestart, kvTwo, kvWatch, kvWatchWriting } from "./watch.mjs";
import { failure, PATIENCE_MS, World } from "./world.mjs";

const scenarios = {
  "kv-bucket": kvBucket, "kv-manage": kvManage, "kv-values": kvValues, "kv-names": kvNames, "kv-limits": kvLimits,
  "kv-history": kvHistory, "kv-keys": kvKeys, "kv-ttl": kvTTL, "kv-watch": kvWatch, "kv-watch-writing": kvWatchWriting,
  "kv-two": kvTwo, "kv-purge-deletes": kvPurgeDeletes, "kv-mirrors": kvMirrors, "kv-many": kvMany, objects,
  "js-publish": jsPublish,
  "js-stream": jsStream, "js-pull": jsPull, "js-ordered": jsOrdered, "js-push": jsPush, core, services,
  "kv-restart": kvRestart, faults,
};

const nc = await connect({
  servers: process.argv[2], name: "driver", maxReconnectAttempts: -1, reconnectTimeWait: 50, reconnectJitter: 0,
});
const js = jetstream(nc, { timeout: PATIENCE_MS });
const jsm = await jetstreamManager(nc, { timeout: PATIENCE_MS });
for (const [name, scenario] of Object.entries(scenarios)) {
  if (process.argv[3] !== name && (process.argv[3] !== "all" || name === "faults")) continue;
  const w = new World(name, nc, js, jsm);
  try {
    await scenario(w);
  } catch (error) {
    w.say("stopped", failure(error));
  }
}
await nc.close();
process.exit(0);
