// More attacks of `attacks`: by what a server says of itself, and by numbers.

import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ELICITATION, SERVER, each, memory, recorded, shown, until } from "./attacking.mjs";
import { Client, said } from "./mcp-client.mjs";

const PLACE = dirname(fileURLToPath(import.meta.url));
const files = ({ child }) => readdirSync(`/proc/${child.pid}/fd`).length;
const ended = (client) =>
  fetch(client.url, { method: "DELETE", headers: client.headers() }).then((got) => got.text());
const onOwnStream = (server) => [...server.seen.streams.keys()].filter((session) => session !== undefined).length;

/** How long calls of somebody else take while `work` goes on, in milliseconds; and how many of them fail. */
async function beside(victim, work, pause = 20) {
  const took = [];
  const failed = [];
  let over = false;
  const calls = (async () => {
    while (!over) {
      const began = Date.now();
      const { answer, broken } = await victim.call("good", { text: "mine" });
      took.push(Date.now() - began);
      if (said(answer) !== "good: mine") failed.push(broken ?? shown(answer));
      await sleep(pause);
    }
  })();
  await work();
  over = true;
  await calls;
  return { failed, most: Math.max(...took), calls: took.length };
}

/** Sessions at servers, one for each session of one client at each of ten servers. */
const manySessions = async ({ mallory, victim, servers, gateway, wrong, tell }, { sessions, openFiles }) => {
  if (openFiles) execFileSync("prlimit", ["--pid", `${gateway.child.pid}`, `--nofile=${openFiles}:${openFiles}`]);
  const client = new Client(gateway, mallory.key, "/mcp");
  const name = (number) => (number === 0 ? SERVER : `${SERVER}${number}`);
  const [before, filesBefore] = [memory(gateway), files(gateway)];
  const own = [];
  let refused = 0;
  const innocent = await beside(victim, () =>
    each(Array.from({ length: sessions }), 10, async () => {
      const session = await client.open(ELICITATION);
      if (session.session === undefined) return;
      own.push(session);
      for (const number of servers.keys()) {
        const { answer } = await session.call(`${name(number)}___good`, { text: "x" });
        if (said(answer) !== "good: x") refused += 1;
      }
    }),
  );
  const opened = servers.reduce((sum, { seen }) => sum + seen.streams.size, 0);
  tell(
    `${own.length} sessions opened ${opened} streams, ${files(gateway) - filesBefore} files and ${Math.round(memory(gateway) - before)} MB; ${refused} calls failed; ` +
      `the victim made ${innocent.calls} calls, the slowest took ${innocent.most} ms`,
  );
  if (innocent.failed.length > 0)
    wrong(`${innocent.failed.length} of ${innocent.calls} calls of somebody else failed: ${innocent.failed[0]}`);
  // Somebody new comes.
  const fresh = new Client(gateway, victim.key, "/mcp");
  for (const number of servers.keys()) {
    const { answer, broken } = await fresh.call(`${name(number)}___good`, { text: "new" });
    if (said(answer) !== "good: new") wrong(`a new caller of ${name(number)}: ${broken ?? shown(answer)}`);
  }
  const session = await fresh.open(ELICITATION);
  const last = await session.call(`${SERVER}___good`, { text: "new" });
  if (said(last.answer) !== "good: new") wrong(`a session of a new caller: ${last.broken ?? shown(last.answer)}`);
  await each(own, 10, ended);
  await ended(session).catch(() => {});
  const left = () => servers.reduce((sum, server) => sum + onOwnStream(server), 0);
  if (!(await until(() => left() <= servers.length, 10_000)))
    wrong(`${left()} streams at servers stay open after all sessions ended`);
  await sleep(1_000);
  if (files(gateway) > filesBefore + 100) wrong(`${files(gateway) - filesBefore} more files are open at the end`);
};

/** A list that is another one each time it is asked for, and a server that says so all the time. */
const restless = async ({ mallory, victim, server, gateway, logs, wrong, tell }) => {
  const SECONDS = 5;
  let version = 0;
  const tools = () => [
    { name: "good", inputSchema: { type: "object", additionalProperties: true } },
    { name: "other", description: `Version ${version}`, inputSchema: { type: "object" } },
  ];
  server.plan.tools = tools();
  const heard = await (await mallory.open(ELICITATION)).listen();
  const sub = new AbortController();
  const message = mallory.message("subscriptions/listen", { notifications: { toolsListChanged: true } });
  const stream = await mallory.post(message, {
    headers: { "Mcp-Method": "subscriptions/listen" },
    signal: sub.signal,
  });
  let events = 0;
  (async () => {
    const reader = stream.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read())
      events += Buffer.from(part.value).toString("utf8").split("list_changed").length - 1;
  })().catch(() => {});
  await until(() => server.seen.streams.size + server.seen.listening.size > 0);
  if (server.seen.streams.size + server.seen.listening.size === 0) wrong("the gateway does not listen");
  const [lists, records, before] = [server.seen.lists, recorded(gateway), memory(gateway)];
  const log = () => readFileSync(join(logs, "gateway.log"), "utf8").split("\n").length;
  const lines = log();
  const innocent = await beside(victim, async () => {
    const end = Date.now() + SECONDS * 1000;
    let told = 0;
    while (Date.now() < end) {
      // A thousand in a second, whatever the timer's grain.
      for (let number = 0; number < 20; number += 1) {
        version += 1;
        server.plan.tools = tools();
        server.tell("notifications/tools/list_changed");
        told += 1;
      }
      await sleep(20);
    }
    tell(`told ${told} times`);
  });
  const asked = server.seen.lists - lists;
  tell(
    `the list was asked for ${asked} times, ${heard.messages.length} and ${events} notifications came to clients, ${log() - lines} log lines, ` +
      `${recorded(gateway) - records - innocent.calls} more records, ${Math.round(memory(gateway) - before)} MB; the slowest call took ${innocent.most} ms`,
  );
  if (innocent.failed.length > 0)
    wrong(`${innocent.failed.length} calls of somebody else fail: ${innocent.failed[0]}`);
  if (asked > SECONDS * 20) wrong(`the list was asked for ${asked} times in ${SECONDS} s`);
  if (heard.messages.length + events > SECONDS * 40)
    wrong(`clients heard of it ${heard.messages.length + events} times`);
  if (log() - lines > SECONDS * 40) wrong(`${log() - lines} lines in the log`);
  if (innocent.most > 1_000) wrong(`a call of somebody else took ${innocent.most} ms`);
  sub.abort();
  heard.close();
};

export const BY_SERVER = {
  "a session id of any size": {
    plan: { old: true },
    async attack({ mallory, victim, server, gateway, wrong, tell }) {
      const outcomes = [];
      for (const [what, id] of [
        ["8 KB", "s".repeat(8_192)],
        ["15 KB", "s".repeat(15_000)],
        ["a space in it", "a b"],
        ["a comma in it", "a, b"],
        ["Latin-1", "s\u00e9ssion"],
        ["nothing", ""],
        ["tabs", "a\tb"],
        ["a path", "../../x"],
      ]) {
        server.plan.sessionId = id;
        const own = await mallory.open(ELICITATION);
        const began = Date.now();
        const { answer, broken } = await own.call("good", { text: "x" });
        const took = Date.now() - began;
        const works = said(answer) === "good: x";
        outcomes.push(`${what}: ${works ? "works" : "refused"}`);
        if (broken) wrong(`${what}: ${broken}`);
        if (took > 4_000) wrong(`${what}: it took ${took} ms to say so`);
        const used = server.seen.messages.findLast(({ method }) => method === "tools/call")?.session;
        if (works && used !== id && !(id === "" && used === undefined))
          wrong(`${what}: ${shown(used)?.slice(0, 60)} was sent back`);
        const other = await victim.call("good", { text: "mine" });
        if (said(other.answer) !== "good: mine") wrong(`${what}: somebody else's call: ${shown(other)}`);
        await ended(own);
      }
      tell(outcomes.join(", "));
      const before = memory(gateway);
      server.plan.sessionId = "s".repeat(8_192);
      for (let number = 0; number < 100; number += 1) await (await mallory.open(ELICITATION)).call("good", {});
      const grown = Math.round(memory(gateway) - before);
      if (grown > 50) wrong(`100 sessions with such an id hold ${grown} MB`);
    },
  },

  "progress for a guessed token": {
    beside: join(PLACE, "hostile-stdio.mjs"),
    async attack({ mallory, victim, gateway, wrong, tell }) {
      const at = (who) => new Client(gateway, who.key, "/mcp");
      const params = (name, given, progressToken) => ({ name, arguments: given, _meta: { progressToken } });
      for (const [what, one] of [
        ["2026-07-28", at(victim)],
        ["2025-11-25", await at(victim).open()],
      ]) {
        const guessing = [0, 1, 2].map((number) =>
          at(mallory).request(
            "tools/call",
            params("beside___act", { guess: true, wait_ms: 1_500, text: "g" }, `mallory-${number}`),
          ),
        );
        await sleep(200);
        // At another server, and at the same.
        const calls = await Promise.all([
          one.request("tools/call", params(`${SERVER}___act`, { trick: "chats", wait_ms: 800 }, "victim")),
          one.request("tools/call", params("beside___act", { count: 3, wait_ms: 500, text: "t" }, "victim-2")),
        ]);
        const progress = ({ events }) => events.filter(({ method }) => method === "notifications/progress");
        const heard = calls.flatMap(progress);
        // Of its own calls a server may say what it likes, with the token of their caller.
        const forged = progress(calls[0]).concat(
          progress(calls[1]).filter(({ params: told }) => told.progressToken !== "victim-2"),
        );
        if (forged.length > 0) wrong(`${what}: ${forged.length} came to somebody else: ${shown(forged[0])}`);
        if (!calls.every(({ answer }) => answer?.result && !answer.result.isError))
          wrong(`${what}: a call of somebody else: ${shown(calls)}`);
        const own = (await Promise.all(guessing)).flatMap(({ events }) => events);
        tell(`${what}: ${heard.length} heard, ${own.length} by the guesser itself`);
      }
    },
  },

  "a thousand sessions at servers": {
    count: 10,
    attack: (about) => manySessions(about, { sessions: 100 }),
  },

  "a thousand sessions at servers, with few files": {
    count: 10,
    // What a shell gives.
    attack: (about) => manySessions(about, { sessions: 100, openFiles: 1_024 }),
  },

  "many subscriptions in a session": async ({ mallory, victim, server, gateway, wrong, tell }) => {
    const COUNT = 2_000;
    const own = await mallory.open();
    const [before, wire, records] = [
      memory(gateway),
      server.seen.bytes.reduce((sum, piece) => sum + piece.length, 0),
      recorded(gateway),
    ];
    let refused = 0;
    const began = Date.now();
    const innocent = await beside(victim, () =>
      each(Array.from({ length: COUNT }), 4, async (_, number) => {
        const { answer } = await own.request("resources/subscribe", { uri: `era://${"x".repeat(200)}/${number}` });
        refused += answer?.result ? 0 : 1;
      }),
    );
    const sent = server.seen.bytes.reduce((sum, piece) => sum + piece.length, 0) - wire;
    const grown = Math.round(memory(gateway) - before);
    tell(
      `${COUNT - refused} of ${COUNT} in ${Date.now() - began} ms: ${Math.round(sent / 1e6)} MB to the server, ${grown} MB held, ${recorded(gateway) - records} records; ` +
        `the victim's slowest call took ${innocent.most} ms`,
    );
    if (innocent.failed.length > 0)
      wrong(`${innocent.failed.length} calls of somebody else fail: ${innocent.failed[0]}`);
    if (innocent.most > 1_000) wrong(`a call of somebody else took ${innocent.most} ms`);
    if (sent > COUNT * 20_000)
      wrong(`${Math.round(sent / 1e6)} MB went to the server for ${COUNT} subscriptions of 210 bytes`);
    if (grown > 100) wrong(`they hold ${grown} MB`);
    await ended(own);
    if (!(await until(() => server.seen.listening.size <= 1, 5_000)))
      wrong(`${server.seen.listening.size} subscriptions stay open`);
  },

  "many subscriptions in one request": async ({ mallory, victim, server, gateway, wrong, tell }) => {
    const uris = Array.from({ length: 20_000 }, (_, number) => `era://a/${number}`);
    const before = memory(gateway);
    let status;
    let took;
    const end = new AbortController();
    const innocent = await beside(victim, async () => {
      const message = mallory.message("subscriptions/listen", { notifications: { resourceSubscriptions: uris } });
      const began = Date.now();
      try {
        const response = await mallory.post(message, {
          headers: { "Mcp-Method": "subscriptions/listen" },
          signal: end.signal,
        });
        status = response.status;
        await response.body.getReader().read();
      } catch (error) {
        status = error.message;
      }
      took = Date.now() - began;
      for (let number = 0; number < 50; number += 1) server.tell("notifications/resources/updated");
    });
    tell(
      `status ${status} after ${took} ms; ${Math.round(memory(gateway) - before)} MB; the victim's slowest call took ${innocent.most} ms`,
    );
    if (innocent.failed.length > 0)
      wrong(`${innocent.failed.length} calls of somebody else fail: ${innocent.failed[0]}`);
    if (innocent.most > 1_000) wrong(`a call of somebody else took ${innocent.most} ms`);
    end.abort();
  },

  "a list that changes all the time": restless,
  "a list that changes all the time, of an older server": { plan: { old: true }, attack: restless },
};
