// A JetKV for tests: a server of one's own, whose clock a test moves.

import { spawn } from "node:child_process";
import { existsSync, openSync, closeSync } from "node:fs";
import { mkdir, mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const START_MS = 60_000;

/** What the lab refused; `code` is as HTTP has them. */
export class LabError extends Error {
  constructor(code, description) {
    super(description);
    this.name = "LabError";
    this.code = code;
  }
}

function binary() {
  const beside = fileURLToPath(new URL("./jetkv", import.meta.url));
  const onPath = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "jetkv"));
  const found = process.env.JETKV_BIN || [beside, ...onPath].find((path) => existsSync(path));
  if (!found) throw new Error("no jetkv: set JETKV_BIN, or put it on PATH");
  return found;
}

async function listening(folder, ended) {
  const deadline = Date.now() + START_MS;
  while (Date.now() < deadline && !ended()) {
    const file = (await readdir(folder)).find((name) => name.endsWith(".ports"));
    if (file) {
      try {
        return JSON.parse(await readFile(join(folder, file), "utf8"));
      } catch {
        // It is being written.
      }
    }
    await pause(5);
  }
  return undefined;
}

/** A server with JetStream on free ports of this machine, which is gone, with what it stored, after `stop`. */
export class JetKV {
  #process;
  #ended;
  #folder;
  #lab;

  /** Starts a server. */
  static async start() {
    const server = new JetKV();
    try {
      await server.#run();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  async #run() {
    this.#folder = await mkdtemp(join(tmpdir(), "jetkv-"));
    const ports = join(this.#folder, "ports");
    await mkdir(ports);
    const path = binary();
    const log = openSync(join(this.#folder, "log"), "w");
    const listen = ["-js", "-a", "127.0.0.1", "-p", "-1", "-m", "-1"];
    this.#process = spawn(path, [...listen, "-sd", join(this.#folder, "store"), "--ports_file_dir", ports], {
      env: { ...process.env, JETKV_LAB: "1" },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    let hasEnded = false;
    this.#ended = new Promise((resolve) => {
      const end = () => resolve((hasEnded = true));
      this.#process.once("exit", end);
      this.#process.once("error", end);
    });
    const places = await listening(ports, () => hasEnded);
    if (!places) throw new Error(`jetkv does not start:\n${await readFile(join(this.#folder, "log"), "utf8")}`);
    /** Where clients connect. */
    this.url = places.nats[0];
    this.#lab = `${places.monitoring[0]}/lab/v1/`;
  }

  /** Ends the server, and removes all that it stored. */
  async stop() {
    this.#process?.kill("SIGTERM");
    await this.#ended;
    if (this.#folder) await rm(this.#folder, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
    await this.stop();
  }

  /** Any request to the lab; gives the answer. */
  async request(group, verb, body = {}) {
    const answer = await fetch(`${this.#lab}${group}/${verb}`, { method: "POST", body: JSON.stringify(body) });
    const told = await answer.json();
    if (told.error) throw new LabError(told.error.code, told.error.description);
    return told;
  }

  /** Lets time pass: text such as "1h30m", or milliseconds. */
  advance(by) {
    return this.request("time", "advance", { by: typeof by === "number" ? Math.round(by * 1e6) : by });
  }

  /** Takes away all that is stored, the faults and the journal; the clock runs with the system's again. */
  reset() {
    return this.request("state", "reset");
  }

  /** Adds a rule of faults; gives its number. */
  async fault(kind, where = {}, fields = {}) {
    return (await this.request("fault", "add", { kind, where, ...fields })).id;
  }

  /** Takes the rules of faults away. */
  async clearFaults() {
    await this.request("fault", "clear");
  }
}
