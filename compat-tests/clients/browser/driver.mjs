// A page in headless Chromium over nats.ws: `node driver.mjs URL...`, where each URL is that of a WebSocket listener.
// Prints one line of JSON for each thing that the page sees. A browser that does not start prints the step `unavailable`.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const say = (line) => console.log(JSON.stringify(line));

/** What the page does; it runs in the browser, and returns what it saw. */
async function page(url) {
  const { connect, StringCodec } = await import("/nats.js");
  const seen = [];
  const text = StringCodec();
  const tried = async (step, what) => {
    try {
      seen.push({ step, ...(await what()) });
    } catch (error) {
      seen.push({ step, error: error.message });
    }
  };
  const nc = await connect({ servers: url, user: "page", pass: "test password" });
  const js = nc.jetstream();
  const bucket = await js.views.kv("b", { history: 5 });
  const watched = [];
  const watch = await bucket.watch();
  const watching = (async () => {
    for await (const entry of watch) {
      watched.push([entry.key, entry.operation, entry.revision, entry.value.length]);
      if (watched.length === 6) return;
    }
  })();
  await tried("put", async () => ({ revision: await bucket.put("k", "v") }));
  await tried("get", async () => {
    const entry = await bucket.get("k");
    return { value: entry.string(), revision: entry.revision };
  });
  await tried("create again", async () => ({ revision: await bucket.create("k", "w") }));
  await tried("update", async () => ({ revision: await bucket.update("k", "w", 1) }));
  await tried("update of an old one", async () => ({ revision: await bucket.update("k", "x", 1) }));
  // More than a frame each way, and what compression makes small.
  const large = new Uint8Array(300_000).map((_, at) => (at * at) % 251);
  await tried("a large one", async () => {
    const revision = await bucket.put("large", large);
    const { value } = await bucket.get("large");
    return { revision, same: value.length === large.length && value.every((byte, at) => byte === large[at]) };
  });
  await tried("as large as a message may not be", async () => ({
    revision: await bucket.put("larger", new Uint8Array(nc.info.max_payload + 1)),
  }));
  await tried("a small one behind it", async () => ({ revision: await bucket.put("k.2", "") }));
  await tried("delete", async () => ({ done: (await bucket.delete("k")) ?? null }));
  await tried("purge", async () => ({ done: (await bucket.purge("k.2")) ?? null }));
  await watching;
  seen.push({ step: "watched", watched });
  await tried("keys", async () => {
    const keys = [];
    for await (const key of await bucket.keys()) keys.push(key);
    return { keys };
  });
  await tried("request", async () => {
    nc.subscribe("double", { callback: (_, message) => message.respond(message.data + message.data) });
    const many = Array.from({ length: 200 }, (_, at) => nc.request("double", text.encode(`${at}`)));
    const answers = await Promise.all(many);
    return { answers: answers.length };
  });
  await tried("nobody there", async () => ({ data: (await nc.request("nobody")).data }));
  await tried("bucket gone", async () => ({ done: await bucket.destroy() }));
  await nc.drain();
  try {
    await connect({ servers: url, user: "page", pass: "wrong", reconnect: false, maxReconnectAttempts: 0 });
    seen.push({ step: "let in by a wrong password" });
  } catch (error) {
    seen.push({ step: "a wrong password", error: error.code });
  }
  return seen;
}

const library = readFileSync(new URL("node_modules/nats.ws/esm/nats.js", import.meta.url));
const pages = createServer((request, response) => {
  const isLibrary = request.url === "/nats.js";
  response.setHeader("content-type", isLibrary ? "text/javascript" : "text/html");
  response.end(isLibrary ? library : "<!doctype html><title>nats</title>");
});
await new Promise((listening) => pages.listen(0, "127.0.0.1", listening));

let browser;
try {
  const executablePath = await chromium.executablePath();
  const args = [...chromium.args, "--no-sandbox", "--ignore-certificate-errors"];
  browser = await puppeteer.launch({ executablePath, args, headless: "shell" });
} catch (error) {
  say({ step: "unavailable", error: error.message });
  process.exit(0);
}
try {
  for (const url of process.argv.slice(2)) {
    const tab = await browser.newPage();
    await tab.goto(`http://127.0.0.1:${pages.address().port}/`);
    const seen = await tab.evaluate(page, url);
    seen.forEach(say);
    await tab.close();
  }
} finally {
  await browser.close();
  pages.close();
}
