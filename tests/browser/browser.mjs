// The work of `run`.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { Stop, main, startCaxton } from "../conformance/processes.mjs";
import { startChromium } from "./chromium.mjs";
import { World } from "./world.mjs";
import { startOrigin, startUpstream } from "./upstream.mjs";
import { ALLOWED } from "./rows-allowed.mjs";
import { REFUSED } from "./rows-refused.mjs";

const PLACE = dirname(fileURLToPath(import.meta.url));
const SERVER = "pages";
/** A name of somebody else that was made to mean this host. */
const REBOUND = "rebound.example";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { row: { type: "string", multiple: true }, keep: { type: "string" } },
});

async function bundled() {
  const { outputFiles } = await build({
    entryPoints: [join(PLACE, "page.mjs")],
    bundle: true,
    format: "iife",
    globalName: "page",
    target: "es2022",
    write: false,
    logLevel: "error",
  });
  return outputFiles[0].text;
}

/** A short token for the key: what a page sends as `Authorization`. */
function tokenOf(gateway, logs) {
  const file = join(logs, "page.key");
  writeFileSync(file, gateway.keys.page, { mode: 0o600 });
  const url = `http://${gateway.host}:${gateway.port}`;
  const words = gateway.manage("auth", "token", "--url", url, "--api-key-file", file).split(/\s+/);
  const token = words.find((word) => word.split(".").length === 3);
  if (token === undefined) throw new Stop("there is no token");
  return token;
}

async function startWorld(logs) {
  const upstream = await startUpstream();
  const script = await bundled();
  const allowed = await startOrigin(script, upstream.hear);
  const other = await startOrigin(script, upstream.hear);
  const settings = { server: SERVER, port: upstream.port, keys: ["page"], origins: [allowed] };
  const gateway = await startCaxton(
    resolve(positionals[0]),
    { ...settings, publicUrl: "http://127.0.0.1:1" },
    logs,
  );
  const browser = await startChromium(logs, [REBOUND]);
  return new World({
    upstream,
    allowed,
    other,
    gateway,
    browser,
    server: SERVER,
    rebound: REBOUND,
    token: tokenOf(gateway, logs),
  });
}

await main(async () => {
  if (positionals.length !== 1) throw new Stop("the gateway's binary is wanted");
  const rows = [...ALLOWED, ...REFUSED].filter(([name]) => !options.row || options.row.includes(name));
  if (rows.length === 0) throw new Stop("there is no such row");
  const logs = options.keep === undefined ? mkdtempSync(join(tmpdir(), "caxton-browser-")) : resolve(options.keep);
  mkdirSync(logs, { recursive: true });
  const world = await startWorld(logs);
  console.log(`${world.browser.version}, ${world.allowed} may call, ${world.other} may not`);
  const wrong = [];
  for (const [name, about, work] of rows) {
    const began = Date.now();
    let problem;
    try {
      await work(world);
    } catch (error) {
      if (error instanceof Stop) throw error;
      problem = error.message.replaceAll(/\s+/g, " ");
      wrong.push(`${name}: ${problem}`);
    }
    world.calm();
    const took = `${String(Date.now() - began).padStart(6)} ms`;
    console.log(
      `${name.padEnd(24)} ${took}  ${problem === undefined ? about : `WRONG  ${problem.slice(0, 300)}`}`,
    );
  }
  if (world.gateway.child.exitCode !== null) wrong.push("the gateway has ended");
  console.log(`\n${rows.length} rows, ${wrong.length} things wrong`);
  for (const text of wrong) console.log(`  ${text.slice(0, 1_000)}`);
  await world.browser.stop();
  if (options.keep === undefined) rmSync(logs, { recursive: true, force: true });
  return wrong.length > 0 ? 1 : 0;
});
