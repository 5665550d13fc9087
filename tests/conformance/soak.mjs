// The work of `soak`.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { startForgetful } from "./forgetful.mjs";
import { Client, said } from "./mcp-client.mjs";
import { Stop, main, startCaxton } from "./processes.mjs";

const SERVER = "soak";
const PATH = `/servers/${SERVER}/mcp`;
const SAMPLES = 10;
const SETTLED_MS = 3_000;
/** Before the first row: what the start has used is given back by then. */
const CALM_MS = 5_000;
/** Which part of a kind of work comes before it, so that what is allocated once is there. */
const WARM_UP = 0.1;
const LEAST_WARM_UP = 50;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    calls: { type: "string", default: "100000" },
    sessions: { type: "string", default: "1000" },
    reconnects: { type: "string", default: "10000" },
    streams: { type: "string", default: "1000" },
    "hang-ups": { type: "string", default: "1000" },
    tolerance: { type: "string", default: "5" },
    "at-once": { type: "string", default: "16" },
    keep: { type: "string" },
  },
});
const AT_ONCE = Number(options["at-once"]);

/** Kilobytes. */
const resident = ({ child }) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))[1]);

/** The memory when nothing goes on: the least of some looks. */
async function settled(gateway) {
  const looks = [];
  const end = Date.now() + SETTLED_MS;
  while (Date.now() < end) {
    await sleep(250);
    looks.push(resident(gateway));
  }
  return Math.min(...looks);
}

function right(name, words, { answer, broken }) {
  if (said(answer) !== words) throw new Stop(`${name}: ${broken ?? JSON.stringify(answer)?.slice(0, 300)}`);
}

/** The kinds of work; each does it once. `at` says how many may go on at a time. */
function kinds({ gateway, caller, server, session }) {
  const told = { name: "told", arguments: { text: "x" }, _meta: { progressToken: "soak" } };
  const ways = [
    () => caller.call("echo", { text: "x" }),
    () => session.call("echo", { text: "x" }),
    () => caller.request("tools/call", told),
    () => session.request("tools/call", told),
  ];
  return {
    calls: {
      async once(number) {
        right("a call", "x", await ways[number % ways.length]());
      },
    },
    sessions: {
      async once() {
        const own = await caller.open({ elicitation: {} });
        if (own.session === undefined) throw new Stop(`no session: ${JSON.stringify(own.refusal)}`);
        right("a call in a session", "x", await own.call("echo", { text: "x" }));
        const ended = await fetch(own.url, { method: "DELETE", headers: own.headers() });
        await ended.text();
        if (!ended.ok) throw new Stop(`a session cannot be ended: ${ended.status}`);
      },
    },
    reconnects: {
      at: 1,
      async once() {
        const before = server.sessions.opened;
        server.forget();
        right("a call after the session was lost", "x", await caller.call("echo", { text: "x" }));
        if (server.sessions.opened === before) throw new Stop("the session was not opened again");
      },
    },
    streams: {
      async once(number) {
        if (number % 2 === 0) {
          const own = await caller.open();
          const heard = await own.listen();
          if (heard.status !== 200) throw new Stop(`a stream: ${heard.status}`);
          heard.close();
          await heard.reading;
          await (await fetch(own.url, { method: "DELETE", headers: own.headers() })).text();
          return;
        }
        const end = new AbortController();
        const message = caller.message("subscriptions/listen", {
          notifications: { toolsListChanged: true, resourceSubscriptions: [`era://${number}`] },
        });
        const response = await caller.post(message, {
          headers: { "Mcp-Method": "subscriptions/listen" },
          signal: end.signal,
        });
        if (response.status !== 200) throw new Stop(`a subscription: ${response.status}`);
        await response.body.getReader().read();
        end.abort();
      },
    },
    "hang-ups": {
      async once(number) {
        const end = new AbortController();
        const waits = (number % 2 ? session : caller).call("waits", { text: "x" }, { signal: end.signal });
        await sleep(20);
        end.abort();
        await waits;
      },
    },
  };
}

/** Does it `count` times, some at once; `look` is called ten times on the way. */
async function repeat({ once, at = AT_ONCE }, count, look) {
  let begun = 0;
  const worker = async () => {
    while (begun < count) {
      const number = begun;
      begun += 1;
      await once(number);
      if (begun % Math.ceil(count / SAMPLES) === 0) look?.();
    }
  };
  await Promise.all(Array.from({ length: at }, worker));
}

const mega = (kilobytes) => (kilobytes / 1024).toFixed(1);
const row = (...cells) =>
  console.log(cells.map((text, at) => (at === 0 ? `${text}`.padEnd(12) : `${text}`.padStart(12))).join(" "));

await main(async () => {
  if (positionals.length !== 1) throw new Stop("the gateway's binary is wanted");
  const logs = options.keep === undefined ? mkdtempSync(join(tmpdir(), "caxton-soak-")) : resolve(options.keep);
  mkdirSync(logs, { recursive: true });
  const server = await startForgetful();
  const upstream = { server: SERVER, port: server.port, keys: ["soak"], timeout: "10s", calls: 64 };
  const gateway = await startCaxton(resolve(positionals[0]), upstream, logs);
  const caller = new Client(gateway, gateway.keys.soak, PATH);
  const session = await caller.open();
  const work = kinds({ gateway, caller, server, session });
  const wanted = Object.entries(work)
    .map(([name, kind]) => ({ name, kind, count: Number(options[name]) }))
    .filter(({ count }) => count > 0);

  for (const { kind, count } of wanted) await repeat(kind, Math.max(LEAST_WARM_UP, Math.round(count * WARM_UP)));
  await sleep(CALM_MS);
  const tolerance = Number(options.tolerance);
  const found = [];
  row("work", "times", "seconds", "before MB", "most MB", "after MB", "change %", "KB a time");
  for (const { name, kind, count } of wanted) {
    const before = await settled(gateway);
    let most = before;
    const began = Date.now();
    await repeat(kind, count, () => (most = Math.max(most, resident(gateway))));
    const seconds = (Date.now() - began) / 1000;
    const after = await settled(gateway);
    const change = ((after - before) / before) * 100;
    row(
      name,
      count,
      seconds.toFixed(1),
      mega(before),
      mega(most),
      mega(after),
      change.toFixed(1),
      ((after - before) / count).toFixed(3),
    );
    // What was freed shows late: less is not wrong.
    if (change > tolerance) found.push(`${name}: the memory grew by ${change.toFixed(1)} %`);
  }
  const { opened, ended } = server.sessions;
  const left = [...server.open.values()].filter((state) => state.own).length;
  if (left > 2)
    found.push(
      `${left} sessions of clients that are over stay open at the server (${opened} opened, ${ended} ended)`,
    );
  if (server.waiting.size > 0)
    found.push(`${server.waiting.size} calls of callers that hung up still wait at the server`);
  if (gateway.child.exitCode !== null) found.push("the gateway has ended");
  console.log(`\n${found.length} things wrong`);
  for (const text of found) console.log(`  ${text}`);
  if (options.keep === undefined) rmSync(logs, { recursive: true, force: true });
  return found.length > 0 ? 1 : 0;
});
