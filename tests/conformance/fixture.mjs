// The server that the conformance suite is run against: all of its scenarios, in both generations of the protocol, with
// the official SDK.
//
// stdin: one line of JSON, {} or {"only": "stateful" | "stateless"} for a server of one generation. stdout: one line,
// {"port": …}. It ends when stdin does, so that it never outlives its test. What goes wrong is told on standard error.

import { randomBytes, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import {
  NodeStreamableHTTPServerTransport,
  localhostHostValidation,
  localhostOriginValidation,
  toNodeHandler,
  toWebRequest,
} from "@modelcontextprotocol/node";
import {
  McpServer,
  createMcpHandler,
  createRequestStateCodec,
  isInitializeRequest,
  isLegacyRequest,
} from "@modelcontextprotocol/server";
import { addPrompts, addResources, addSubscription } from "./prompts.mjs";
import { addRounds } from "./rounds.mjs";
import { skills } from "./skills.mjs";
import { TASKS, TaskServer, addTasks } from "./tasks.mjs";
import { addTools } from "./tools.mjs";

const lines = createInterface({ input: process.stdin });
const plan = JSON.parse((await lines[Symbol.asyncIterator]().next()).value);
lines.on("close", () => process.exit(0));

const INFO = { name: "caxton-conformance-fixture", title: "Conformance fixture", version: "1.0.0" };
const ANY = { ttlMs: 1000, cacheScope: "public" };
const OWN = { ttlMs: 0, cacheScope: "private" };
const LARGEST_BODY = 16 * 1024 * 1024;

const states = createRequestStateCodec({ key: randomBytes(32) });
const complain = (error) => console.error(error);

/** The sessions of the older generation, by id: `{ transport, mcp, watched, extra }`. */
const sessions = new Map();

/** What all connections share. */
const world = {
  extraTool: false,
  extraPrompt: false,
  changeTools() {
    this.extraTool = !this.extraTool;
    for (const { extra } of sessions.values()) extra.tool.update({ enabled: this.extraTool });
    modern.notify.toolsChanged();
  },
  changePrompts() {
    this.extraPrompt = !this.extraPrompt;
    for (const { extra } of sessions.values()) extra.prompt.update({ enabled: this.extraPrompt });
    modern.notify.promptsChanged();
  },
  changeResource(uri) {
    for (const { mcp, watched } of sessions.values()) {
      if (watched.has(uri)) mcp.server.sendResourceUpdated({ uri }).catch(complain);
    }
    modern.notify.resourceUpdated(uri);
  },
};

/** A server for one request of the newer generation, or for one session of the older one. */
function build(era) {
  const options = {
    capabilities: {
      logging: {},
      resources: { subscribe: true, listChanged: true },
      ...(era === "modern" && { extensions: { [TASKS]: {} } }),
    },
    instructions: "Everything the conformance suite asks for.",
    requestState: { verify: (state) => states.verify(state) },
    cacheHints: {
      "tools/list": OWN,
      "prompts/list": OWN,
      "resources/list": ANY,
      "resources/templates/list": ANY,
      "resources/read": ANY,
      "server/discover": ANY,
    },
  };
  const mcp = new McpServer(INFO, { cacheHints: options.cacheHints });
  // `McpServer` makes a plain server; nothing is registered at it yet.
  mcp.server = new TaskServer(INFO, options);
  const extra = { tool: addTools(mcp, world) };
  addRounds(mcp, states);
  addTasks(mcp, era);
  extra.prompt = addPrompts(mcp, world);
  addResources(mcp);
  if (era === "modern") skills.attach(mcp);
  return { mcp, extra };
}

const modern = createMcpHandler(() => build("modern").mcp, {
  legacy: "reject",
  maxRequestBodySize: LARGEST_BODY,
  // Refused requests, too, are reported there: they are the suite's business.
  onerror: () => {},
});
const answerModern = toNodeHandler(modern, { onerror: complain, maxRequestBodySize: LARGEST_BODY });

/** Keeps what was sent on a session's streams, so that a client can take up one that broke. */
class Events {
  #kept = [];

  async storeEvent(streamId, message) {
    this.#kept.push({ streamId, message });
    return String(this.#kept.length);
  }

  async getStreamIdForEventId(id) {
    return this.#kept[Number(id) - 1]?.streamId;
  }

  async replayEventsAfter(id, { send }) {
    const from = Number(id);
    const { streamId } = this.#kept[from - 1] ?? {};
    if (streamId === undefined) throw new Error(`there is no event ${id}`);
    // What is stored while the older ones are sent comes by itself.
    for (const [at, event] of [...this.#kept.entries()].slice(from)) {
      // The event that opens a stream has no message.
      if (event.streamId === streamId && "jsonrpc" in event.message) await send(String(at + 1), event.message);
    }
    return streamId;
  }
}

async function openSession() {
  const { mcp, extra } = build("legacy");
  const watched = new Set();
  addSubscription(mcp, watched);
  const transport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: new Events(),
    retryInterval: 100,
    maxRequestBodySize: LARGEST_BODY,
    onsessioninitialized: (id) => sessions.set(id, { transport, mcp, watched, extra }),
    onsessionclosed: (id) => sessions.delete(id),
  });
  await mcp.connect(transport);
  return transport;
}

function refuse(response, status, code, message) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify({ jsonrpc: "2.0", id: null, error: { code, message } }));
}

async function answerLegacy(request, response, body) {
  const id = request.headers["mcp-session-id"];
  if (id !== undefined) {
    const session = sessions.get(id);
    if (!session) return refuse(response, 404, -32001, "Session not found");
    return session.transport.handleRequest(request, response, body);
  }
  if (!isInitializeRequest(body))
    return refuse(response, 400, -32000, "Bad Request: Mcp-Session-Id header is required");
  const transport = await openSession();
  return transport.handleRequest(request, response, body);
}

async function read(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > LARGEST_BODY) return { tooLarge: true };
    parts.push(part);
  }
  try {
    return { body: JSON.parse(Buffer.concat(parts).toString("utf8")) };
  } catch {
    return {};
  }
}

const validHost = localhostHostValidation();
const validOrigin = localhostOriginValidation();

async function answer(request, response) {
  if (!validHost(request, response) || !validOrigin(request, response)) return undefined;
  if (new URL(request.url, "http://localhost").pathname !== "/mcp")
    return refuse(response, 404, -32000, "Not found");
  if (request.method !== "POST") {
    return plan.only === "stateless" ? answerModern(request, response) : answerLegacy(request, response, undefined);
  }
  const { body, tooLarge } = await read(request);
  if (tooLarge) return refuse(response, 413, -32000, "Too large");
  if (body === undefined) return refuse(response, 400, -32700, "Parse error");
  const legacy = plan.only
    ? plan.only === "stateful"
    : await isLegacyRequest(await toWebRequest(request, body), body);
  return legacy ? answerLegacy(request, response, body) : answerModern(request, response, body);
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    complain(error);
    if (response.headersSent) response.destroy();
    else refuse(response, 500, -32603, "Internal error");
  });
});
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => {
  process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`);
});

process.stdin
  .on("end", () => process.exit(0))
  .on("error", () => process.exit(0))
  .resume();
