// A server of 2025-11-25 that loses its sessions when it is told to; part of `soak`.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

const ANY = { type: "object", properties: { text: { type: "string" } } };
const TOOLS = ["echo", "told", "waits"].map((name) => ({ name, inputSchema: ANY }));
const CAPABILITIES = { tools: { listChanged: true }, resources: { subscribe: true } };
const INFO = { name: "forgetful", version: "1.0.0" };
const event = (value) => `data: ${JSON.stringify(value)}\n\n`;
const words = (text) => ({ content: [{ type: "text", text }] });

/** Resolves with the server's port, what `forget`s its sessions, and what is open. */
export async function startForgetful() {
  /** Sessions by id; `own` ones are of one client of the gateway. */
  const open = new Map();
  const sessions = { opened: 0, ended: 0 };
  /** Calls that are never answered. */
  const waiting = new Set();

  function call({ id, params: { name, arguments: given, _meta } }, response, json) {
    if (name === "echo") return json({ result: words(given.text) });
    if (name === "waits") {
      waiting.add(response);
      return response.on("close", () => waiting.delete(response));
    }
    const progressToken = _meta?.progressToken;
    response.writeHead(200, { "content-type": "text/event-stream" });
    const told = { jsonrpc: "2.0", method: "notifications/progress", params: { progressToken, progress: 1 } };
    if (progressToken !== undefined) response.write(event(told));
    return response.end(event({ jsonrpc: "2.0", id, result: words(given.text) }));
  }

  function post(message, session, response) {
    const json = (value, headers = {}) => {
      response.writeHead(200, { "content-type": "application/json", ...headers });
      response.end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...value }));
    };
    if (message.method === "initialize") {
      const id = randomUUID();
      open.set(id, { own: Object.keys(message.params.capabilities).length > 0 });
      sessions.opened += 1;
      const result = { protocolVersion: "2025-11-25", capabilities: CAPABILITIES, serverInfo: INFO };
      return json({ result }, { "mcp-session-id": id });
    }
    if (message.method === "server/discover") return json({ error: { code: -32601, message: "no" } });
    if (!open.has(session)) {
      response.writeHead(404, { "content-type": "application/json" });
      return response.end(
        JSON.stringify({ jsonrpc: "2.0", id: null, error: { code: -32001, message: "Session not found" } }),
      );
    }
    if (message.id === undefined) return response.writeHead(202).end();
    if (message.method === "tools/list") return json({ result: { tools: TOOLS } });
    if (message.method === "tools/call") return call(message, response, json);
    return json({ result: {} });
  }

  const server = createServer(async (request, response) => {
    const session = request.headers["mcp-session-id"];
    if (request.method === "DELETE") {
      if (open.delete(session)) sessions.ended += 1;
      return response.writeHead(204).end();
    }
    if (request.method === "GET") return response.writeHead(405).end();
    const parts = [];
    for await (const part of request) parts.push(part);
    return post(JSON.parse(Buffer.concat(parts).toString("utf8")), session, response);
  });
  server.keepAliveTimeout = 60_000;
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return { port: server.address().port, open, sessions, waiting, forget: () => open.clear() };
}
