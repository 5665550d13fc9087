// The work of `matrix`.

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Stop, main, startCaxton, startProgram } from "./processes.mjs";

const PLACE = dirname(fileURLToPath(import.meta.url));
const SERVER = "misbehave";
const VERSION = "2026-07-28";

/** For one call at the server, as the gateway is told. */
const CALL_SECONDS = 4;
/** How much longer the gateway may take to say that it gave up. */
const MORE_MS = 6_000;
const CALM_MS = 10;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    row: { type: "string", multiple: true },
    stateless: { type: "boolean", default: false },
    list: { type: "string" },
    initialize: { type: "string" },
    path: { type: "string", default: `/servers/${SERVER}/mcp` },
    keep: { type: "string" },
  },
});

// At the endpoint of all servers a tool has its server's name before it.
const prefix = options.path === "/mcp" ? `${SERVER}___` : "";

/** A caller with a key, who speaks the stateless protocol. */
class Caller {
  #gateway;
  #key;
  #id = 0;

  constructor(gateway, key) {
    this.#gateway = gateway;
    this.#key = key;
  }

  /** What came back: `{ words }` of a result, or `{ problem }`, or what is wrong with the answer itself. */
  async call(tool, given, limit = CALL_SECONDS * 1000 + MORE_MS) {
    const id = (this.#id += 1);
    const name = `${prefix}${tool}`;
    const _meta = {
      "io.modelcontextprotocol/protocolVersion": VERSION,
      "io.modelcontextprotocol/clientInfo": { name: "matrix", version: "0.0.0" },
      "io.modelcontextprotocol/clientCapabilities": {},
    };
    let text;
    let response;
    try {
      response = await fetch(`http://${this.#gateway.host}:${this.#gateway.port}${options.path}`, {
        method: "POST",
        headers: {
          "x-api-key": this.#key,
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          "mcp-protocol-version": VERSION,
          "mcp-method": "tools/call",
          "mcp-name": name,
        },
        body: JSON.stringify({
          jsonrpc: "2.0",
          id,
          method: "tools/call",
          params: { name, arguments: given, _meta },
        }),
        signal: AbortSignal.timeout(limit),
      });
      text = await response.text();
    } catch (error) {
      return { broken: `no answer of the gateway: ${error.cause?.message ?? error.message}` };
    }
    const answer = final(response, text);
    if (answer === undefined)
      return { broken: `${response.status} without a JSON-RPC answer: ${text.slice(0, 200)}` };
    if (answer.id !== id) return { broken: `the answer is to ${JSON.stringify(answer.id)}, not to ${id}` };
    if (answer.error) return { problem: `${answer.error.code} ${answer.error.message}`, status: response.status };
    const words = (answer.result?.content ?? []).map((item) => item.text).join("");
    return answer.result?.isError ? { problem: words, status: response.status } : { words };
  }
}

/** The message with a result or an error. */
function final(response, text) {
  const events = response.headers.get("content-type")?.startsWith("text/event-stream");
  const messages = events ? [...text.matchAll(/^data: ?(.+)$/gm)].map(([, data]) => data) : [text];
  for (const message of messages) {
    try {
      const value = JSON.parse(message);
      if (value.result !== undefined || value.error !== undefined) return value;
    } catch {
      // Not an answer.
    }
  }
  return undefined;
}

/** What is wrong with how a row came out, if anything is. */
function judged({ row, outcome }, { broken, problem, words }, took) {
  if (broken !== undefined) return broken;
  const right = words === `good: ${row}`;
  switch (outcome) {
    case "answers":
      return right ? undefined : `no answer: ${problem ?? words}`;
    case "fails":
      return problem === undefined ? `taken for an answer: ${words.slice(0, 80)}` : undefined;
    case "hangs":
      if (problem === undefined) return `taken for an answer: ${words.slice(0, 80)}`;
      return took > CALL_SECONDS * 1000 + MORE_MS / 2 ? `took ${took} ms` : undefined;
    default:
      return undefined;
  }
}

/** Somebody else, who calls all the time. */
async function innocent(caller, during) {
  const wrong = [];
  let calls = 0;
  while (!during.over) {
    const row = during.row;
    const { words, broken, problem } = await caller.call("good", { text: "innocent" });
    calls += 1;
    if (words !== "good: innocent") wrong.push(`${row}: ${broken ?? problem ?? words}`);
    await sleep(CALM_MS);
  }
  return { wrong, calls };
}

await main(async () => {
  if (positionals.length !== 1) throw new Stop("the gateway's binary is wanted");
  const logs = options.keep === undefined ? mkdtempSync(join(tmpdir(), "caxton-matrix-")) : resolve(options.keep);
  mkdirSync(logs, { recursive: true });
  const { stateless, list, initialize } = options;
  const plan = { stateless, list, initialize };
  const program = join(PLACE, "../clients/misbehave.mjs");
  const server = await startProgram("the server", program, join(logs, "misbehave.log"), plan);
  const at = `http://127.0.0.1:${server.found}`;
  const rows = (await (await fetch(`${at}/rows`)).json()).filter(
    ({ row }) => !options.row || options.row.includes(row),
  );
  if (rows.length === 0) throw new Stop("there is no such row");
  const upstream = {
    server: SERVER,
    port: server.found,
    keys: ["caller", "innocent"],
    timeout: `${CALL_SECONDS}s`,
  };
  const gateway = await startCaxton(resolve(positionals[0]), upstream, logs);
  const caller = new Caller(gateway, gateway.keys.caller);

  const found = [];
  const during = { row: "before", over: false };
  const first = await caller.call("good", { text: "first" });
  if (first.words !== "good: first")
    throw new Stop(`not even a good call works: ${JSON.stringify(first)}; see ${logs}`);
  const other = innocent(new Caller(gateway, gateway.keys.innocent), during);
  for (const each of rows) {
    during.row = each.row;
    const began = Date.now();
    const answer = await caller.call("bad", { row: each.row, seconds: 1 });
    const took = Date.now() - began;
    const wrong = judged(each, answer, took);
    const how = answer.broken ?? answer.problem ?? answer.words;
    console.log(
      `${each.row.padEnd(24)} ${each.outcome.padEnd(8)} ${String(took).padStart(6)} ms  ${wrong === undefined ? "" : "WRONG  "}${how.replaceAll("\n", " ").slice(0, 140)}`,
    );
    if (wrong !== undefined) found.push(`${each.row}: ${wrong}`);
    const after = await caller.call("good", { text: "after" });
    if (after.words !== "good: after")
      found.push(`${each.row}: the call after it: ${after.broken ?? after.problem ?? after.words}`);
  }
  during.over = true;
  const { wrong, calls } = await other;
  found.push(...wrong.map((text) => `somebody else, during ${text}`));

  const { requests, bytes } = await (await fetch(`${at}/seen`)).json();
  const wire = Buffer.from(bytes, "base64");
  if (requests.some(({ url }) => url === "/elsewhere")) found.push("a redirect was followed");
  for (const [name, key] of Object.entries(gateway.keys)) {
    if (wire.includes(key)) found.push(`the key of ${name} has reached the server`);
  }
  if (wire.includes("track=1")) found.push("a cookie was brought back");
  if (gateway.child.exitCode !== null) found.push("the gateway has ended");

  console.log(`\n${rows.length} rows, ${calls} calls of somebody else, ${found.length} things wrong`);
  for (const text of found) console.log(`  ${text.slice(0, 300)}`);
  if (options.keep === undefined) rmSync(logs, { recursive: true, force: true });
  return found.length > 0 ? 1 : 0;
});
