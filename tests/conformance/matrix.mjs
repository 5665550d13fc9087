// The work of `matrix`.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as sendHttp } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Client, said } from "./mcp-client.mjs";
import { Stop, main, startCaxton, startProgram } from "./processes.mjs";

const PLACE = dirname(fileURLToPath(import.meta.url));
const SERVER = "misbehave";
const VERSION = "2026-07-28";

/** For one call at the server, as the gateway is told. */
const CALL_SECONDS = 4;
/** How much longer the gateway may take to say that it gave up. */
const MORE_MS = 6_000;
const CALM_MS = 10;
/**
 * In this row the server closes connections. A request that is on its way on one of them may have been carried out, so the
 * gateway does not send it again, and says this.
 */
const RESTART = "restart";
const LOST = /the server `\w+` is not available/;

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
    const began = during.row;
    const { words, broken, problem } = await caller.call("good", { text: "innocent" });
    calls += 1;
    // A call can begin before a row and meet what the row does.
    const row = during.row === RESTART ? RESTART : began;
    if (words !== "good: innocent") wrong.push(`${row}: ${broken ?? problem ?? words}`);
    await sleep(CALM_MS);
  }
  return { wrong, calls };
}

/** What a client may send that is nobody's business behind the gateway. */
const SECRETS = {
  "Proxy-Authorization": "Basic proxy-secret-1",
  Cookie: "session=cookie-secret-2; theme=dark",
  "X-Forwarded-Authorization": "Bearer forwarded-secret-3",
  "X-Auth-Token": "other-secret-4",
  "Last-Event-ID": "event-secret-5",
  Referer: "http://localhost/?code=referer-secret-6",
};

/**
 * Calls with each way to show a credential and with other secrets beside it, in a session and without one. Gives all that
 * must not reach the server, and what did not work where it must.
 */
async function withSecrets(gateway, key, logs) {
  const file = join(logs, "caller.key");
  writeFileSync(file, key, { mode: 0o600 });
  const url = `http://${gateway.host}:${gateway.port}`;
  const token = gateway
    .manage("auth", "token", "--url", url, "--api-key-file", file)
    .split(/\s+/)
    .find((word) => word.split(".").length === 3);
  if (token === undefined) throw new Stop("there is no token");
  const found = [];
  const secrets = [
    key,
    token,
    token.split(".")[2],
    ...Object.values(SECRETS).map((text) => /\w+-secret-\d/.exec(text)[0]),
  ];
  const name = `${prefix}good`;
  const session = await new Client(gateway, key, options.path).open({ elicitation: {} });
  secrets.push(session.session);
  const credentials = [
    ["Authorization", `Bearer ${token}`],
    ["authorization", `bearer ${token}`],
    ["AUTHORIZATION", `BEARER ${token}`],
    ["aUTHORIZATION", `Bearer   ${token}`],
    ["X-API-Key", key],
    ["x-api-key", key],
    ["X-API-KEY", key],
    ["Authorization", `Basic ${Buffer.from(`caller:${key}`).toString("base64")}`],
    ["Authorization", `Bearer ${key}`],
  ];
  secrets.push(Buffer.from(`caller:${key}`).toString("base64"));
  let worked = 0;
  for (const [field, value] of credentials) {
    for (const in_ of [undefined, session]) {
      const client = in_ ?? new Client(gateway, "", options.path);
      const message = client.message("tools/call", { name, arguments: { text: field } });
      const { "X-API-Key": _, ...headers } = client.headers({
        "Mcp-Method": "tools/call",
        "Mcp-Name": name,
        ...SECRETS,
      });
      const answer = await exactly(client.url, { ...headers, [field]: value }, JSON.stringify(message));
      if (said(answer) === `good: ${field}`) worked += 1;
    }
  }
  // A bearer and a key, in the three spellings that HTTP has for each; a session is its owner's, whatever he shows.
  if (worked < 10) found.push(`only ${worked} of the calls with credentials have worked`);
  return { secrets, found };
}

/** A POST with the header fields spelled as they are here. */
function exactly(url, headers, body) {
  return new Promise((done, failed) => {
    const sent = sendHttp(url, {
      method: "POST",
      headers: { ...headers, "Content-Length": Buffer.byteLength(body) },
    });
    sent.on("error", failed).on("response", (response) => {
      let text = "";
      response
        .on("data", (part) => (text += part))
        .on("end", () => {
          const [, event] = /^data: (\{"jsonrpc.*"result".*)$/m.exec(text) ?? [];
          try {
            done(JSON.parse(event ?? text));
          } catch {
            done(undefined);
          }
        });
    });
    sent.end(body);
  });
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
      `${each.row.padEnd(24)} ${each.outcome.padEnd(8)} ${String(took).padStart(6)} ms  ${wrong === undefined ? "" : "WRONG  "}${how.replaceAll(/\p{C}+/gu, " ").slice(0, 140)}`,
    );
    if (wrong !== undefined) found.push(`${each.row}: ${wrong}`);
    let after = await caller.call("good", { text: "after" });
    // Each connection that the server closes can cost one call.
    if (each.row === RESTART && LOST.test(after.problem)) after = await caller.call("good", { text: "after" });
    if (after.words !== "good: after")
      found.push(`${each.row}: the call after it: ${after.broken ?? after.problem ?? after.words}`);
  }
  during.over = true;
  const { wrong, calls } = await other;
  const lost = wrong.findIndex((text) => text.startsWith(`${RESTART}: `) && LOST.test(text));
  if (lost >= 0) wrong.splice(lost, 1);
  found.push(...wrong.map((text) => `somebody else, during ${text}`));

  const credentials = await withSecrets(gateway, gateway.keys.caller, logs);
  found.push(...credentials.found);

  const { requests, bytes } = await (await fetch(`${at}/seen`)).json();
  const wire = Buffer.from(bytes, "base64");
  if (requests.some(({ url }) => url === "/elsewhere")) found.push("a redirect was followed");
  for (const [name, key] of Object.entries(gateway.keys)) {
    if (wire.includes(key)) found.push(`the key of ${name} has reached the server`);
  }
  if (!wire.includes('"text":"AUTHORIZATION"'))
    found.push("the calls with credentials are not among what was recorded");
  for (const secret of credentials.secrets) {
    if (wire.includes(secret)) found.push(`what a client showed has reached the server: ${secret.slice(0, 12)}…`);
  }
  if (wire.includes("track=1")) found.push("a cookie was brought back");
  if (gateway.child.exitCode !== null) found.push("the gateway has ended");

  console.log(`\n${rows.length} rows, ${calls} calls of somebody else, ${found.length} things wrong`);
  for (const text of found) console.log(`  ${text.replaceAll(/\p{C}+/gu, " ").slice(0, 300)}`);
  if (options.keep === undefined) rmSync(logs, { recursive: true, force: true });
  return found.length > 0 ? 1 : 0;
});
