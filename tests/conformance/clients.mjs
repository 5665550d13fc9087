// The work of `clients`.

import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { STEPS as MEANT } from "./meant.mjs";
import { Stop, main, runToEnd, startCaxton, startProgram } from "./processes.mjs";
import { Meant, apart } from "./sameness.mjs";

const PLACE = dirname(fileURLToPath(import.meta.url));
const PROGRAMS = join(PLACE, "../clients");
const SERVER = "fixture";
const LIMIT_MS = 5 * 60_000;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    client: { type: "string", multiple: true },
    python: { type: "string", default: join(PLACE, "../../target/test-venv/bin/python") },
    path: { type: "string", default: `/servers/${SERVER}/mcp` },
    only: { type: "string" },
    keep: { type: "string" },
  },
});

const script = (sdk) => ({ command: process.execPath, file: "session.mjs", plan: { sdk } });
const python = (mode) => ({ command: options.python, file: "session.py", plan: { mode } });
const CLIENTS = {
  "typescript-newest": script("newest"),
  "typescript-2025": script("2025"),
  "typescript-2026": { ...script("2026"), modern: true },
  "python-legacy": python("legacy"),
  "python-auto": { ...python("auto"), modern: true },
};

const WATCHED = "test://watched-resource";
const call = (name, given, more = {}) => ({ do: "call", name, arguments: given ?? {}, ...more });
/**
 * The session. `fails`: it does not succeed; `old`: it is gone from 2026-07-28; `own`: the gateway may refuse it in its
 * own words, by an error or by a result that says so.
 */
const STEPS = [
  { do: "tools" },
  call("test_simple_text"),
  call("test_big_text", { bytes: 900_000 }),
  call("test_structured_content", { city: "Bern" }),
  call("test_image_content"),
  call("test_audio_content"),
  call("test_embedded_resource"),
  call("test_resource_link"),
  call("test_multiple_content_types"),
  call("test_error_handling"),
  call("test_structured_content", {}, { own: true }),
  call("test_nothing", {}, { own: true }),
  call("test_tool_with_progress", {}, { progress: true }),
  { do: "log-level", level: "info", old: true },
  call("test_tool_with_logging"),
  { do: "wait", for: "notifications/message", seconds: 2, old: true },
  call("test_sampling", { prompt: "What is the capital of France?" }),
  call("test_elicitation", { message: "Who are you?" }),
  call("test_input_required_result_list_roots"),
  { do: "prompts" },
  { do: "prompt", name: "test_simple_prompt" },
  { do: "prompt", name: "test_prompt_with_arguments", arguments: { arg1: "one", arg2: "two" } },
  { do: "prompt", name: "test_prompt_with_image" },
  { do: "prompt", name: "test_nothing", own: true },
  { do: "resources" },
  { do: "templates" },
  { do: "read", uri: "test://static-text" },
  { do: "read", uri: "test://static-binary" },
  { do: "read", uri: "test://template/7/data" },
  { do: "read", uri: "test://nothing", own: true },
  { do: "subscribe", uri: WATCHED },
  call("test_trigger_resource_update", { uri: WATCHED }),
  { do: "wait", for: "notifications/resources/updated", seconds: 10 },
  call("test_trigger_tool_change"),
  { do: "wait", for: "notifications/tools/list_changed", seconds: 10 },
  { do: "tools" },
  { do: "unsubscribe", uri: WATCHED },
  call("test_slow", { seconds: 60, label: "taken back" }, { cancel_after: 500, fails: true }),
  { do: "pause", seconds: 1 },
  call("test_cancelled"),
  {
    do: "complete",
    ref: { type: "ref/prompt", name: "test_prompt_with_arguments" },
    argument: { name: "arg1", value: "pa" },
  },
  {
    do: "complete",
    ref: { type: "ref/resource", uri: "test://template/{id}/data" },
    argument: { name: "id", value: "12" },
  },
  { do: "ping", old: true },
  { do: "end" },
];
const ANSWERS = {
  sampling: "Paris",
  elicitation: { action: "accept", content: { username: "ada", email: "ada@example.org" } },
  roots: [{ uri: "file:///work", name: "work" }],
};

/** The lines that a client printed, the first for connecting. */
async function session({ command, file, plan }, url, headers, log) {
  const steps = STEPS.map(({ fails, old, own, ...step }) => step);
  const input = { ...plan, ...ANSWERS, url, headers, steps };
  const printed = await runToEnd(command, [join(PROGRAMS, file)], { cwd: PROGRAMS, log, limit: LIMIT_MS, input });
  return printed
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
}

const CONNECT = { do: "connect" };
const refused = (line) => line?.ok === false || line?.result?.isError === true;
const shown = ({ do: name, name: what, uri, for: method }) =>
  [name, what ?? uri ?? method].filter(Boolean).join(" ");

/** Where a step did not come out as it must. */
function unexpected(client, lines) {
  const found = [];
  for (const [at, step] of [CONNECT, ...STEPS].entries()) {
    const line = lines[at];
    const right = step.own ? refused(line) : line?.ok === !(step.fails || (step.old && client.modern));
    if (!right) found.push(`${at} ${shown(step)}: ${JSON.stringify(line ?? "nothing").slice(0, 300)}`);
  }
  return found;
}

const meant = new Meant(MEANT);
const isAbout = ({ only }) => only?.includes(options.only) ?? true;

function differences(name, direct, through) {
  const found = [];
  for (const [at, step] of [CONNECT, ...STEPS].entries()) {
    if (step.own) continue;
    const fits = (entry) =>
      isAbout(entry) && (entry.clients?.includes(name) ?? true) && entry.steps.test(shown(step));
    const texts = meant.difference(direct[at], through[at], fits);
    if (texts) found.push(`${at} ${shown(step)}: ${apart(...texts)}`);
  }
  return found;
}

async function withServer(plan, logs, work) {
  mkdirSync(logs, { recursive: true });
  const server = await startProgram("the server", join(PLACE, "fixture.mjs"), join(logs, "fixture.log"), plan);
  try {
    return await work(server.found);
  } finally {
    await server.stop();
  }
}

await main(async () => {
  if (positionals.length > 1) throw new Stop("one binary at most");
  if (!existsSync(options.python))
    throw new Stop(`there is no ${options.python}: run tests/run, or give --python`);
  const unknown = (options.client ?? []).filter((name) => !Object.hasOwn(CLIENTS, name));
  if (unknown.length > 0) throw new Stop(`no such client: ${unknown}; there are ${Object.keys(CLIENTS)}`);
  const root = options.keep === undefined ? mkdtempSync(join(tmpdir(), "caxton-clients-")) : resolve(options.keep);
  let wrong = 0;
  for (const [name, client] of Object.entries(CLIENTS)) {
    if (options.client && !options.client.includes(name)) continue;
    const logs = join(root, name);
    const direct = await withServer({}, join(logs, "direct"), (port) =>
      session(client, `http://127.0.0.1:${port}/mcp`, {}, join(logs, "direct/client.log")),
    );
    const found = unexpected(client, direct).map((text) => `the server alone: ${text}`);
    if (positionals.length === 1) {
      const through = await withServer({ only: options.only }, join(logs, "through"), async (port) => {
        const upstream = { server: SERVER, port, keys: [name] };
        const gateway = await startCaxton(resolve(positionals[0]), upstream, join(logs, "through"));
        const url = `http://${gateway.host}:${gateway.port}${options.path}`;
        try {
          return await session(client, url, { "X-API-Key": gateway.keys[name] }, join(logs, "through/client.log"));
        } finally {
          await gateway.stop();
        }
      });
      found.push(...unexpected(client, through).map((text) => `through Caxton: ${text}`));
      found.push(...differences(name, direct, through));
    }
    console.log(`${name}: ${direct.length} steps, ${found.length} things wrong`);
    for (const text of found) console.log(`  ${text}`);
    wrong += found.length;
  }
  const whole = positionals.length === 1 && !options.client && !options.only;
  const stale = whole ? meant.unused(isAbout) : [];
  for (const why of stale) console.log(`meant to differ, and does not any more: ${why}`);
  wrong += stale.length;
  if (options.keep === undefined) rmSync(root, { recursive: true, force: true });
  return wrong > 0 ? 1 : 0;
});
