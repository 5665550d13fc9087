// The work of `servers`.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Client as Official } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ResultSchema } from "@modelcontextprotocol/sdk/types.js";
import { inspect } from "./inspector.mjs";
import { Client as Stateless } from "./mcp-client.mjs";
import { SERVERS as MEANT } from "./meant.mjs";
import { Stop, main, start, startCaxton } from "./processes.mjs";
import { servers } from "./real-servers.mjs";
import { Meant, apart } from "./sameness.mjs";

const PLACE = dirname(fileURLToPath(import.meta.url));
const LIMIT = { timeout: 60_000 };
const MANY = 100;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    server: { type: "string", multiple: true },
    "no-inspector": { type: "boolean", default: false },
    python: { type: "string", default: join(PLACE, "../../target/test-venv/bin/python") },
    keep: { type: "string" },
  },
});

// ---- ways to a server ----

/** Progress that is compared: the SDK loses what comes in one piece with the answer. */
const TOLD = 2;

/** What a request came to: `{ result }` or `{ error }`, with the `progress` that was told before. */
async function official(transport) {
  const client = new Official({ name: "servers", version: "0.0.0" });
  await client.connect(transport, LIMIT);
  const ask = async (method, params, wantsProgress) => {
    const progress = [];
    const how = { ...LIMIT, ...(wantsProgress && { onprogress: (told) => progress.push(told) }) };
    try {
      const result = await client.request({ method, params }, ResultSchema, how);
      return { result, progress: progress.slice(0, TOLD) };
    } catch (error) {
      return { error: { code: error.code, message: error.message }, progress };
    }
  };
  const greeting = { version: client.getServerVersion(), capabilities: client.getServerCapabilities() };
  return { ask, greeting, close: () => client.close() };
}

const overHttp = (url, key) =>
  official(
    new StreamableHTTPClientTransport(new URL(url), key && { requestInit: { headers: { "X-API-Key": key } } }),
  );

const overPipe = ([command, ...args]) => official(new StdioClientTransport({ command, args, stderr: "ignore" }));

/** The same in the newest version, in which each request stands alone. */
function stateless(gateway, key, path) {
  const client = new Stateless(gateway, key, path);
  const ask = async (method, params, wantsProgress) => {
    const given = wantsProgress ? { ...params, _meta: { progressToken: "servers" } } : params;
    const { answer, events, broken } = await client.request(method, given);
    const progress = events.filter(({ method: told }) => told === "notifications/progress");
    const told = progress.map(({ params: { progressToken, ...rest } }) => rest);
    return answer
      ? { result: answer.result, error: answer.error, progress: told.slice(0, TOLD) }
      : { error: { broken } };
  };
  return { ask, close: () => {} };
}

/** At the address of all servers, where each name and URI has its server before it. */
function prefixed(way, server) {
  const named = (params) => {
    const { name, uri, ref } = params;
    return {
      ...params,
      ...(name !== undefined && { name: `${server}___${name}` }),
      ...(uri !== undefined && { uri: `${server}+${uri}` }),
      ...(ref && { ref: named(ref) }),
    };
  };
  return { ...way, ask: (method, params, more) => way.ask(method, named(params), more) };
}

// ---- one request, one server ----

const LISTED = {
  "tools/list": "tools",
  "prompts/list": "prompts",
  "resources/list": "resources",
  "resources/templates/list": "resourceTemplates",
};

/** All pages of a list as one. */
async function all(way, method, mine) {
  const key = LISTED[method];
  const items = [];
  let cursor;
  for (let page = 0; page < MANY; page += 1) {
    const { result, error } = await way.ask(method, cursor === undefined ? {} : { cursor });
    if (error) return { error };
    items.push(...result[key]);
    cursor = result.nextCursor;
    if (cursor === undefined) return { result: { ...result, [key]: items.filter(mine) } };
  }
  throw new Stop(`${method} does not end`);
}

const refused = ({ result, error }) => error !== undefined || result?.isError === true;
const shown = ({ method, params: { name, uri, ref } }) =>
  [method, name ?? uri ?? ref?.name ?? ref?.uri].filter(Boolean).join(" ");
const meant = new Meant(MEANT);

/** The answers to all steps, in order. */
async function answers(way, { steps, make }, mine = () => true) {
  make?.();
  const found = [];
  for (const { method, params, progress } of steps)
    found.push(method in LISTED ? await all(way, method, mine) : await way.ask(method, params, progress));
  return found;
}

/** Lines, one a step whose answer is another one than directly. */
function differences({ steps, replace }, server, way, direct, through) {
  const found = [];
  const rules = [...(replace ?? []), [new RegExp(`"${server}(___|\\+)`, "g"), '"']];
  for (const [at, step] of steps.entries()) {
    const [here, there] = [direct[at], through[at]];
    const wrong = (words) => found.push(`${at} ${shown(step)}: ${words}`);
    if (step.own) {
      if (!step.strict && !refused(here)) wrong("the server alone does not refuse it");
      if (!refused(there)) wrong(`it is not refused: ${JSON.stringify(there).slice(0, 200)}`);
      continue;
    }
    const fits = (entry) =>
      (entry.servers?.includes(server) ?? true) &&
      (entry.ways?.includes(way) ?? true) &&
      entry.steps.test(shown(step));
    const texts = meant.difference(here, there, fits, [{ replace: rules }]);
    if (texts) wrong(apart(...texts));
  }
  return found;
}

/** `{ direct }`: a server that is not behind anything; over HTTP with its port. */
async function begin(name, { command, http }, logs) {
  if (command)
    return { entry: { name, command: command[0], args: command.slice(1) }, direct: () => overPipe(command) };
  const started = await start(name, http[0], http.slice(1), {
    stream: "stdout",
    log: join(logs, `${name}.log`),
    line: (text) => (text.startsWith("{") ? JSON.parse(text).port : undefined),
  });
  const url = `http://127.0.0.1:${started.found}/mcp`;
  return { entry: { name, url }, url, direct: () => overHttp(url) };
}

const WAYS = {
  "2025-11-25": (gateway, key, server) => overHttp(`${gateway.url}/servers/${server}/mcp`, key),
  "2026-07-28": (gateway, key, server) => stateless(gateway, key, `/servers/${server}/mcp`),
  "2025-11-25 at /mcp": async (gateway, key, server) =>
    prefixed(await overHttp(`${gateway.url}/mcp`, key), server),
  "2026-07-28 at /mcp": (gateway, key, server) => prefixed(stateless(gateway, key, "/mcp"), server),
};

/** What is wrong with a server's answers, and with what became of them in each way through the gateway, if there is one. */
async function compared(name, about, begun, gateway) {
  const one = await begun.direct();
  const direct = await answers(one, about);
  await one.close();
  const failed = direct.filter(
    (answer, at) => answer.error && !about.steps[at].own && !(about.steps[at].method in LISTED),
  );
  const found = failed.map((answer) => `the server alone: ${JSON.stringify(answer.error)}`);
  /** What differs, with the ways in which it does. */
  const ways = new Map();
  for (const [way, open] of Object.entries(gateway ? WAYS : {})) {
    const through = await open(gateway, gateway.keys.servers, name);
    const mine = ({ name: called, uri, uriTemplate }) =>
      !way.endsWith("/mcp") ||
      (called ?? "").startsWith(`${name}___`) ||
      (uri ?? uriTemplate ?? "").startsWith(`${name}+`);
    const there = await answers(through, about, mine);
    await through.close();
    for (const text of differences(about, name, way, direct, there))
      ways.set(text, [...(ways.get(text) ?? []), way]);
  }
  found.push(...[...ways].map(([text, all]) => `${text}   [${all.join(", ")}]`));
  return found;
}

/** A child process gets what is configured, and nothing of the gateway's own environment. */
async function environment(gateway) {
  const way = stateless(gateway, gateway.keys.servers, "/servers/everything/mcp");
  const { result } = await way.ask("tools/call", { name: "get-env", arguments: {} });
  const names = Object.keys(JSON.parse(result.content[0].text));
  return names
    .filter((name) => name !== "PATH")
    .map((name) => `a child process has ${name} of the gateway's environment`);
}

await main(async () => {
  if (positionals.length > 1) throw new Stop("one binary at most");
  if (!existsSync(options.python))
    throw new Stop(`there is no ${options.python}: run tests/run, or give --python`);
  const logs = options.keep === undefined ? mkdtempSync(join(tmpdir(), "caxton-servers-")) : resolve(options.keep);
  mkdirSync(logs, { recursive: true });
  const packages = join(PLACE, "node_modules");
  const known = servers({
    packages,
    clients: join(PLACE, "../clients"),
    python: options.python,
    place: join(logs, "world"),
  });
  const unknown = (options.server ?? []).filter((name) => !Object.hasOwn(known, name));
  if (unknown.length > 0) throw new Stop(`no such server: ${unknown}; there are ${Object.keys(known).join(", ")}`);
  const wanted = Object.entries(known).filter(([name]) => options.server?.includes(name) ?? true);

  const begun = new Map();
  for (const [name, about] of wanted) {
    about.make?.();
    begun.set(name, await begin(name, about, logs));
  }
  let wrong = 0;
  const told = (name, count, found) => {
    console.log(`${name}: ${count}, ${found.length} things wrong`);
    for (const text of found) console.log(`  ${text.replaceAll(/\p{C}+/gu, " ").slice(0, 500)}`);
    wrong += found.length;
  };
  if (positionals.length === 0) {
    for (const [name, about] of wanted)
      told(name, `${about.steps.length} requests`, await compared(name, about, begun.get(name)));
    return wrong > 0 ? 1 : 0;
  }
  const entries = [...begun.values()].map(({ entry }) => entry);
  const gateway = await startCaxton(
    resolve(positionals[0]),
    // A busy machine is not what is tested.
    { servers: entries, connect: "1m", approved: true, keys: ["servers"] },
    logs,
  );
  gateway.url = `http://${gateway.host}:${gateway.port}`;
  for (const [name, about] of wanted) {
    const found = await compared(name, about, begun.get(name), gateway);
    try {
      gateway.manage("tools", "diff", name, "--config", "caxton.yaml");
    } catch (error) {
      found.push(`tools diff: ${error.stdout}`);
    }
    if (name === "everything") found.push(...(await environment(gateway)));
    told(name, `${about.steps.length} requests, ${Object.keys(WAYS).length} ways`, found);
  }
  if (!options["no-inspector"]) {
    for (const [name, about] of wanted) {
      const { count, found } = await inspect(name, about, begun.get(name), gateway, logs);
      if (count > 0) told(`inspector, ${name}`, `${count} commands`, found);
    }
  }
  if (gateway.child.exitCode !== null) told("gateway", "at the end", ["it has ended"]);
  const log = readFileSync(join(logs, "gateway.log"), "utf8");
  if (/panicked/.test(log)) told("gateway", "its log", ["it has panicked"]);
  const stale = options.server ? [] : meant.unused(() => true);
  for (const why of stale) console.log(`meant to differ, and does not any more: ${why}`);
  if (options.keep === undefined) rmSync(logs, { recursive: true, force: true });
  return wrong + stale.length > 0 ? 1 : 0;
});
