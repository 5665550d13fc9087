// Starts the processes that the tools of this directory need, a gateway among them, and stops each by its own id.

import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, createWriteStream, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const PLACE = dirname(fileURLToPath(import.meta.url));
const START_LIMIT_MS = 120_000;
const STOP_LIMIT_MS = 10_000;

/** What is told to who runs the tool, without a stack. */
export class Stop extends Error {}

/** What runs; each is a function that stops it. */
const running = new Set();

/** Stops a child, and in the end by force. */
export function stopper(child) {
  const stop = () =>
    new Promise((stopped) => {
      if (child.exitCode !== null || child.signalCode !== null) return stopped();
      const late = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT_MS);
      child.once("exit", () => {
        clearTimeout(late);
        stopped();
      });
      child.kill("SIGTERM");
      return undefined;
    }).finally(() => running.delete(stop));
  running.add(stop);
  return stop;
}

/** Starts a process; `line` sees what it says on `stream` until it returns something, which is what was `found`. */
export function start(name, command, given, { cwd, stream, log, line, plan }) {
  const child = spawn(command, given, { cwd, stdio: ["pipe", "pipe", "pipe"] });
  const stop = stopper(child);
  if (plan !== undefined) child.stdin.write(`${JSON.stringify(plan)}\n`);
  const written = createWriteStream(log);
  return new Promise((ready, failed) => {
    const give = (problem) => failed(new Stop(`${name} ${problem}; see ${log}`));
    const late = setTimeout(() => give("did not start in time"), START_LIMIT_MS);
    child.once("error", (error) => give(error.message));
    child.once("exit", (code, signal) => {
      clearTimeout(late);
      give(`ended with ${signal ?? code}`);
    });
    for (const from of ["stdout", "stderr"]) {
      createInterface({ input: child[from] }).on("line", (text) => {
        written.write(`${text}\n`);
        const found = from === stream ? line(text) : undefined;
        if (found === undefined) return;
        clearTimeout(late);
        ready({ found, stop, child });
      });
    }
  });
}

/** A program of Node that says its port first and ends with its input. */
export const startProgram = (name, file, log, plan) =>
  start(name, process.execPath, [file], {
    stream: "stdout",
    log,
    plan,
    line: (text) => (text.startsWith("{") ? JSON.parse(text).port : undefined),
  });

/** Runs a program to its end, or until it has had its time; resolves with all that it printed. */
export function runToEnd(command, given, { cwd, log, limit, input }) {
  return new Promise((done, failed) => {
    const child = spawn(command, given, { cwd, stdio: ["pipe", "pipe", "pipe"] });
    const stop = stopper(child);
    child.stdin.on("error", () => {}).end(input === undefined ? "" : `${JSON.stringify(input)}\n`);
    const late = setTimeout(stop, limit);
    const parts = [];
    child.stdout.on("data", (part) => parts.push(part));
    child.stderr.on("data", (part) => parts.push(part));
    child.once("error", failed);
    child.once("close", () => {
      clearTimeout(late);
      running.delete(stop);
      const printed = Buffer.concat(parts).toString("utf8");
      writeFileSync(log, printed);
      done(printed);
    });
  });
}

// The rates are no part of this.
const config = ({
  calls = 32,
  tools = 256,
  connect = "10s",
  approved = false,
  origins = [],
  publicUrl,
  sections = "",
  ...upstream
}) => `
server: { port: 0, metrics_port: 0, data_dir: data${publicUrl === undefined ? "" : `, public_url: "${publicUrl}"`} }
security:
  authorization: { policy_dir: policies }
  audit: { deadline: 10s }
  api_keys: { rate_limit_per_key: 1000000/second, burst_limit: 1000000 }
  rate_limit: { per_principal: 1000000/second, burst: 1000000 }
${sections}
mcp:
  auto_import: ${!approved}
  allowed_origins: ${JSON.stringify(origins)}
  connect_timeout: ${connect}
  max_concurrent_calls: ${calls}
  max_tools_per_server: ${tools}
  servers:
${(upstream.servers ?? [one(upstream)]).map((entry) => `    - ${JSON.stringify(entry)}`).join("\n")}
`;
/** One server, over HTTP or as a child process of the gateway. */
const one = ({ server, port, program, timeout = "30s" }) => ({
  name: server,
  timeout,
  ...(program === undefined
    ? { url: `http://127.0.0.1:${port}/mcp` }
    : { command: process.execPath, args: [program] }),
});
const ALLOW_ALL = '@id("all")\npermit (principal, action, resource);\n';

/**
 * A gateway with one server behind it, or with `servers` as the configuration has them, and a key for each name. Its policy
 * allows everything, if none is given. `manage` runs a command of the gateway's program beside it. With `approved`, the tools
 * of all servers are imported first, and none is offered that was not. Pages of `origins` may call it.
 */
export async function startCaxton(caxton, { keys, policy = ALLOW_ALL, ...upstream }, logs) {
  if (!existsSync(caxton)) throw new Stop(`there is no ${caxton}`);
  const home = join(logs, "gateway");
  mkdirSync(join(home, "policies"), { recursive: true });
  writeFileSync(join(home, "caxton.yaml"), config(upstream));
  writeFileSync(join(home, "policies/all.cedar"), policy);
  const manage = (...given) =>
    execFileSync(caxton, given, { cwd: home, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  const made = {};
  // Names, each with every permission, or names with the words that they have.
  const wanted = Array.isArray(keys) ? keys.map((name) => [name, "*"]) : Object.entries(keys);
  for (const [name, permissions] of wanted) {
    const about = ["--name", name, "--permissions", permissions, "--expires-in", "1d", "--data-dir", "data"];
    made[name] = manage("auth", "create-key", ...about);
  }
  if (upstream.approved) {
    // The typed actions of the tools stand beside the gateway's own types.
    mkdirSync(join(home, "schemas"));
    copyFileSync(join(PLACE, "../../schemas/caxton.cedarschema"), join(home, "schemas/caxton.cedarschema"));
    for (const { name } of upstream.servers ?? [one(upstream)]) {
      // The server may be in this very process, so nothing waits for it here.
      const log = join(logs, `import-${name}.log`);
      await runToEnd(caxton, ["tools", "import", name, "--config", "caxton.yaml"], {
        cwd: home,
        log,
        limit: START_LIMIT_MS,
      });
      if (!existsSync(join(home, `schemas/tools/${name}.tools.json`)))
        throw new Stop(`its tools were not imported: ${log}`);
    }
  }
  const gateway = await start("the gateway", caxton, ["start", "--config", "caxton.yaml"], {
    cwd: home,
    stream: "stderr",
    log: join(logs, "gateway.log"),
    line: (text) => / on http:\/\/(127\.0\.0\.1):(\d+),/.exec(text)?.slice(1, 3),
  });
  const [host, port] = gateway.found;
  return { host, port: Number(port), keys: made, home, manage, stop: gateway.stop, child: gateway.child };
}

/** Runs a tool: its exit code is what `work` returns, 2 if it could not be done; nothing is left running. */
export async function main(work) {
  const end = () => Promise.all([...running].map((stop) => stop()));
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => end().finally(() => process.exit(1)));
  let code = 2;
  try {
    code = await work();
  } catch (error) {
    console.error(error instanceof Stop ? error.message : error);
  }
  await end();
  process.exit(code);
}
