// The work of `lost-sessions`.

import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Client, said } from "./mcp-client.mjs";
import { Stop, main, startCaxton } from "./processes.mjs";

const SERVER = "forgets";
const VERSION = "2025-11-25";
const TOOLS = ["good", "bad"].map((name) => ({ name, inputSchema: { type: "object" } }));

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { row: { type: "string", multiple: true }, keep: { type: "string" } },
});

/**
 * A server with sessions. `bad(world, request)` carries out the tool of that name and says whether it has answered; `hold` has for
 * how long, in milliseconds, the next answer to a method or to the tool `good` is held back. `events` are what happened.
 */
async function startServer(bad) {
  const world = { sessions: new Set(), hold: {}, events: [] };
  const note = (text) => world.events.push(text);

  async function held(name) {
    const time = world.hold[name] ?? 0;
    delete world.hold[name];
    await sleep(time);
  }

  async function answer(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const id = request.headers["mcp-session-id"];
    if (request.method === "DELETE") {
      note(world.sessions.delete(id) ? "ended by the gateway" : "an unknown one ended");
      return response.writeHead(200).end();
    }
    if (request.method !== "POST") return response.writeHead(405).end();
    const message = JSON.parse(Buffer.concat(parts).toString("utf8"));
    if (message.id === undefined) return response.writeHead(202).end();
    const say = (status, value, more = {}) => {
      response.writeHead(status, { "content-type": "application/json", ...more });
      response.end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...value }));
    };
    if (message.method === "initialize") {
      const session = randomUUID();
      world.sessions.add(session);
      note("opened");
      const serverInfo = { name: SERVER, version: "1.0.0" };
      const result = { protocolVersion: VERSION, capabilities: { tools: {} }, serverInfo };
      return say(200, { result }, { "mcp-session-id": session });
    }
    if (message.method === "server/discover")
      return say(200, { error: { code: -32601, message: "Method not found" } });
    const tool = message.params?.name;
    await held(tool ?? message.method);
    const lost = () => say(404, { error: { code: -32001, message: "Session not found" } });
    if (!world.sessions.has(id)) return lost();
    if (message.method === "tools/list") return say(200, { result: { tools: TOOLS } });
    if (tool === "bad") return bad(world, { id, lost, socket: request.socket });
    return say(200, { result: { content: [{ type: "text", text: "good" }] } });
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error) => console.error(error));
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return { world, port: server.address().port };
}

const works = async (client) => said((await client.call("good", {})).answer) === "good";

/**
 * The server starts anew. The gateway asks it for its tools to see whether it is there, and a call finds the session gone
 * while that question is open: both know, and the session that is opened next must not be ended for the one before it.
 */
async function foundTwice({ world, caller, other }) {
  await caller.call("bad", {});
  await sleep(30);
  const found = [];
  const end = Date.now() + 2_000;
  for (let number = 1; Date.now() < end; number += 1) {
    if (!(await works(other))) found.push(`call ${number} of somebody else failed`);
    await sleep(5);
  }
  const opened = world.events.filter((event) => event === "opened").length;
  if (opened > 2) found.push(`${opened} sessions were opened, of which two were needed`);
  return found;
}

/**
 * A call loses two sessions, one after the other. Somebody else's call, which was sent in the first, must not be sent in the
 * second when the gateway knows that it is gone.
 */
async function lostTwice({ world, caller, other }) {
  world.hold.good = 200;
  const call = works(other);
  await sleep(50);
  await caller.call("bad", {});
  return (await call) ? [] : ["the call of somebody else failed"];
}

const ROWS = {
  "found-twice": [
    foundTwice,
    (world, { socket }) => {
      world.sessions.clear();
      world.hold["tools/list"] = 150;
      socket.destroy();
    },
  ],
  "lost-twice": [
    lostTwice,
    (world, { id, lost }) => {
      world.sessions.delete(id);
      world.lost = (world.lost ?? 0) + 1;
      if (world.lost === 2) world.hold["tools/list"] = 600;
      lost();
    },
  ],
};

await main(async () => {
  if (positionals.length !== 1) throw new Stop("the gateway's binary is wanted");
  const logs = options.keep === undefined ? mkdtempSync(join(tmpdir(), "caxton-lost-")) : resolve(options.keep);
  const names = Object.keys(ROWS).filter((name) => !options.row || options.row.includes(name));
  let wrong = 0;
  for (const name of names) {
    const [work, bad] = ROWS[name];
    const own = join(logs, name);
    mkdirSync(own, { recursive: true });
    const { world, port } = await startServer(bad);
    const gateway = await startCaxton(
      resolve(positionals[0]),
      { server: SERVER, port, keys: ["caller", "other"] },
      own,
    );
    const client = (who) =>
      Object.assign(new Client(gateway, gateway.keys[who], `/servers/${SERVER}/mcp`), { version: VERSION });
    const [caller, other] = [client("caller"), client("other")];
    if (!(await works(other))) throw new Stop(`not even a good call works; see ${own}`);
    const found = await work({ world, caller, other });
    const ended = world.events.filter((event) => event === "ended by the gateway").length;
    if (ended > 0) found.push(`${ended} sessions that the server knew were ended`);
    await gateway.stop();
    console.log(`${name}: ${found.length} things wrong`);
    for (const text of found.slice(0, 6)) console.log(`  ${text}`);
    wrong += found.length;
  }
  console.log(`\n${names.length} rows, ${wrong} things wrong`);
  if (options.keep === undefined) rmSync(logs, { recursive: true, force: true });
  return wrong > 0 ? 1 : 0;
});
