// An MCP server that wants to harm the gateway in front of it and the gateway's clients; part of `attacks`.
//
// It speaks both generations. `act` does what its argument `trick` names; `good` answers.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const OLD = ["2025-11-25", "2025-06-18", "2025-03-26"];
const NEW = "2026-07-28";
const INFO = { name: "hostile", version: "1.0.0" };
const CAPABILITIES = {
  tools: { listChanged: true },
  logging: {},
  resources: { subscribe: true, listChanged: true },
  prompts: {},
};
const ANY = { type: "object", additionalProperties: true };
const TOOLS = [
  { name: "good", inputSchema: ANY },
  { name: "act", inputSchema: ANY },
  {
    name: "hidden",
    inputSchema: { type: "object", properties: { region: { type: "string", "x-mcp-header": "Region" } } },
  },
];
const PATIENCE_MS = 20_000;
const LARGE = 900_000;

export const words = (text) => [{ type: "text", text }];
const event = (value, fields = "") => `${fields}data: ${JSON.stringify(value)}\n\n`;
const note = (method, params) => ({ jsonrpc: "2.0", method, params });

/**
 * The server; resolves with its port and what it saw. `plan` may be changed while it runs: `sessionId` is the id of each session
 * that is opened from then on, `tools` its list, `old` says that it does not know 2026-07-28, `resources` that it has some.
 */
export async function startHostile(plan = {}) {
  const seen = {
    /** All that came, as it came, a buffer a piece. */
    bytes: [],
    /** How often the list of tools was asked for, and how often a session was ended. */
    lists: 0,
    ended: 0,
    /** Open subscriptions (2026-07-28): the stream by the request's id. */
    listening: new Map(),
    /** Requests and notifications, with their session. */
    messages: [],
    /** POSTs that are held open, by method. */
    held: new Map(),
    /** How often a stream was taken up again, by event id. */
    resumed: new Map(),
    /** Answers of clients to requests of this server. */
    answers: [],
    rounds: 0,
    pages: 0,
    /** Open streams that a GET asked for, by session. */
    streams: new Map(),
  };
  const hold = (key, response) => {
    seen.held.set(key, (seen.held.get(key) ?? 0) + 1);
    response.on("close", () => seen.held.set(key, seen.held.get(key) - 1));
  };

  const tricks = {
    /** Says something first, and answers after a while. */
    async chats({ sse, done, given }) {
      sse(note("notifications/message", { level: "info", data: "x".repeat(given.bytes ?? 10) }));
      await sleep(given.wait_ms ?? 0);
      done({ content: words("chatted") });
    },
    /** Never answers. */
    async waits() {},
    /** Asks the client, and answers with what it said. */
    async asks({ sse, done, given }) {
      const id = randomUUID();
      const told = new Promise((answered) => seen.answers.push({ id, answered }));
      sse({
        jsonrpc: "2.0",
        id,
        method: "elicitation/create",
        params: {
          message: given.message ?? "Who are you?",
          requestedSchema: { type: "object", properties: given.properties ?? {} },
        },
      });
      const answer = await Promise.race([told, sleep(PATIENCE_MS, "nobody")]);
      done({ content: words(JSON.stringify(answer.result ?? answer.error ?? answer)) });
    },
    /** Asks the client a thousand times over and does not wait. */
    async floods({ sse, done, given }) {
      for (let number = 0; number < given.count; number += 1)
        sse({
          jsonrpc: "2.0",
          id: `flood-${number}`,
          method: "elicitation/create",
          params: { message: "again", requestedSchema: { type: "object", properties: {} } },
        });
      await sleep(given.wait_ms ?? 0);
      done({ content: words("flooded") });
    },
    /** Puts messages before the answer that are none of its business. */
    async smuggles({ sse, done, given }) {
      for (const message of given.messages) sse(message);
      done({ content: words("smuggled") });
    },
    /** A result of its choice. */
    async gives({ done, given }) {
      done(given.result);
    },
    /** An error of its choice. */
    async fails({ fail, given }) {
      fail(given.error);
    },
    /** Ends each stream with an event to go on from, at once. */
    async polls({ raw, given }) {
      raw(`id: ${given.key}\nretry: 0\ndata: \n\n`);
    },
    /** Asks in its result, again and again. */
    async rounds({ done }) {
      seen.rounds += 1;
      done({
        resultType: "input_required",
        inputRequests: {
          name: {
            method: "elicitation/create",
            params: { mode: "form", message: "Who?", requestedSchema: { type: "object", properties: {} } },
          },
        },
        requestState: `round ${seen.rounds}`,
      });
    },
  };

  async function act(message, response) {
    const given = message.params.arguments ?? {};
    const stateless = message.params._meta?.["io.modelcontextprotocol/protocolVersion"] !== undefined;
    const begin = () => response.headersSent || response.writeHead(200, { "content-type": "text/event-stream" });
    const sse = (value) => {
      begin();
      response.write(event(value));
    };
    const last = (value) => {
      if (response.headersSent) return response.end(event(value));
      response.writeHead(200, { "content-type": "application/json" });
      return response.end(JSON.stringify(value));
    };
    const envelope = { jsonrpc: "2.0", id: message.id };
    const done = (result) =>
      last({ ...envelope, result: { ...(stateless && { resultType: "complete" }), ...result } });
    const fail = (error) => last({ ...envelope, error });
    const raw = (text) => {
      begin();
      response.end(text);
    };
    if (message.params.name !== "act") return done({ content: words(`good: ${given.text}`) });
    hold(`tools/call ${given.trick}`, response);
    return tricks[given.trick]({ given, sse, done, fail, raw, message });
  }

  function listen({ id, params: { notifications } }, response) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const _meta = { "io.modelcontextprotocol/subscriptionId": id };
    response.write(event(note("notifications/subscriptions/acknowledged", { notifications, _meta })));
    seen.listening.set(id, response);
    response.on("close", () => seen.listening.get(id) === response && seen.listening.delete(id));
  }

  function post(message, request, response) {
    const session = request.headers["mcp-session-id"];
    seen.messages.push({ session, ...message });
    const json = (value, headers = {}) => {
      response.writeHead(200, { "content-type": "application/json", ...headers });
      response.end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...value }));
    };
    if (message.method === undefined) {
      const at = seen.answers.findIndex(({ id }) => id === message.id);
      if (at >= 0) seen.answers.splice(at, 1)[0].answered(message);
      return response.writeHead(202).end();
    }
    if (message.method === "notifications/cancelled") {
      // Taken, and never answered.
      return hold("notifications/cancelled", response);
    }
    if (message.id === undefined) return response.writeHead(202).end();
    switch (message.method) {
      case "server/discover":
        if (plan.old) return json({ error: { code: -32601, message: "no" } });
        return json({
          result: {
            resultType: "complete",
            ttlMs: 0,
            cacheScope: "public",
            supportedVersions: [NEW],
            capabilities: CAPABILITIES,
            _meta: { "io.modelcontextprotocol/serverInfo": INFO },
          },
        });
      case "initialize": {
        // As strict as the official SDKs are.
        const bad = Object.entries(message.params.capabilities).find(([, value]) => typeof value !== "object");
        if (bad) return json({ error: { code: -32602, message: `the capability ${bad[0]} is no object` } });
        const asked = message.params.protocolVersion;
        const protocolVersion = OLD.includes(asked) ? asked : OLD[0];
        const result = { protocolVersion, capabilities: CAPABILITIES, serverInfo: INFO };
        return json({ result }, { "mcp-session-id": plan.sessionId ?? randomUUID() });
      }
      case "tools/list":
        seen.lists += 1;
        return json({
          result: { resultType: "complete", ttlMs: 0, cacheScope: "public", tools: plan.tools ?? TOOLS },
        });
      case "tools/call":
        return act(message, response);
      case "resources/read": {
        const { uri } = message.params;
        return json({
          result: { resultType: "complete", ttlMs: 0, cacheScope: "public", contents: [{ uri, text: "x" }] },
        });
      }
      case "resources/list":
        // Taken, and never answered.
        return hold("resources/list", response);
      case "prompts/list": {
        // Pages without end, each as large as one answer may be.
        seen.pages += 1;
        const prompts = [{ name: `prompt-${seen.pages}`, description: "x".repeat(LARGE) }];
        return json({
          result: { resultType: "complete", ttlMs: 0, cacheScope: "public", prompts, nextCursor: `${seen.pages}` },
        });
      }
      case "subscriptions/listen":
        return listen(message, response);
      default:
        return json({ result: {} });
    }
  }

  function get(request, response) {
    const resumed = request.headers["last-event-id"];
    response.writeHead(200, { "content-type": "text/event-stream" });
    if (resumed !== undefined) {
      seen.resumed.set(resumed, (seen.resumed.get(resumed) ?? 0) + 1);
      return response.end(`id: ${resumed}\nretry: 0\ndata: \n\n`);
    }
    response.flushHeaders();
    const session = request.headers["mcp-session-id"];
    seen.streams.set(session, response);
    return response.on("close", () => seen.streams.get(session) === response && seen.streams.delete(session));
  }

  const server = createServer(async (request, response) => {
    if (request.method === "GET") return get(request, response);
    if (request.method !== "POST") {
      seen.ended += request.method === "DELETE" ? 1 : 0;
      return response.writeHead(200).end();
    }
    const parts = [];
    for await (const part of request) parts.push(part);
    return post(JSON.parse(Buffer.concat(parts).toString("utf8")), request, response);
  });
  server.on("connection", (socket) => socket.on("error", () => {}));
  server.on("connection", (socket) => socket.on("data", (piece) => seen.bytes.push(piece)));
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const speak = (session, message) => seen.streams.get(session)?.write(event(message));
  /** Says it to all that listen to changes, in the way of either generation. */
  const tell = (method) => {
    for (const [session, stream] of seen.streams) if (session) stream.write(event(note(method, {})));
    for (const [id, stream] of seen.listening)
      stream.write(event(note(method, { _meta: { "io.modelcontextprotocol/subscriptionId": id } })));
  };
  return { port: server.address().port, seen, speak, tell, plan };
}
