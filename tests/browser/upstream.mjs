// The MCP server behind the gateway (2026-07-28), and the origins of the pages.

import { createServer } from "node:http";

const VERSION = "2026-07-28";
const HEARD_LIMIT_MS = 15_000;

const TEXT = { type: "string" };
const of = (properties) => ({ type: "object", properties, required: Object.keys(properties) });
const TOOLS = [
  { name: "echo", description: "Says the text.", inputSchema: of({ text: TEXT }) },
  {
    name: "weather",
    description: "Says the region.",
    inputSchema: of({ region: { ...TEXT, "x-mcp-header": "Region" } }),
  },
  {
    name: "steps",
    description: "Tells its progress, and answers once that was heard.",
    inputSchema: of({ text: TEXT }),
  },
];

async function listening(answer) {
  const server = createServer(answer);
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  return server.address().port;
}

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}

/**
 * A server whose tool `steps` answers only after `hear()`, which the page has called when the progress before it has arrived:
 * an answer that is held back until it is whole never comes. `calls` are the calls of tools that it got.
 */
export async function startUpstream() {
  const calls = [];
  let heard = () => {};

  async function steps(message, response) {
    const hearing = new Promise((done) => {
      heard = () => done(true);
      setTimeout(done, HEARD_LIMIT_MS, false).unref();
    });
    const say = (value) => response.write(`data: ${JSON.stringify({ jsonrpc: "2.0", ...value })}\n\n`);
    response.writeHead(200, { "content-type": "text/event-stream" });
    const { progressToken } = message.params._meta ?? {};
    say({ method: "notifications/progress", params: { progressToken, progress: 1, total: 2 } });
    const words = (await hearing) ? "heard" : "not heard";
    say({ id: message.id, result: { resultType: "complete", content: [{ type: "text", text: words }] } });
    response.end();
  }

  function result({ method, params }) {
    switch (method) {
      case "server/discover":
        return { supportedVersions: [VERSION], capabilities: { tools: {} } };
      case "tools/list":
        return { tools: TOOLS };
      case "tools/call":
        return { content: [{ type: "text", text: params.arguments.text ?? params.arguments.region }] };
      default:
        return undefined;
    }
  }

  const port = await listening(async (request, response) => {
    if (request.method !== "POST") return response.writeHead(405).end();
    const message = JSON.parse(await read(request));
    if (message.id === undefined) return response.writeHead(202).end();
    if (message.method === "tools/call") calls.push({ ...message.params, headers: request.headers });
    if (message.method === "tools/call" && message.params.name === "steps") return steps(message, response);
    const found = result(message);
    const answer = found
      ? { result: { resultType: "complete", ttlMs: 0, cacheScope: "private", ...found } }
      : { error: { code: -32601, message: "there is no such method" } };
    response.writeHead(200, { "content-type": "application/json" });
    return response.end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...answer }));
  });
  return { port, calls, hear: () => heard() };
}

const HTML = '<!doctype html><meta charset="utf-8"><title>page</title><script src="/page.js"></script>\n';
/** The same without an origin, as in a frame that is sandboxed. */
const SANDBOX = { "content-security-policy": "sandbox allow-scripts allow-forms" };

/** An origin with a page at `/`, one without an origin at `/sandboxed`, and `POST /heard`; its address. */
export async function startOrigin(script, hear) {
  const files = {
    "/": ["text/html", HTML, {}],
    "/sandboxed": ["text/html", HTML, SANDBOX],
    "/page.js": ["text/javascript", script, {}],
  };
  const port = await listening((request, response) => {
    if (request.method === "POST" && request.url === "/heard") {
      hear();
      return response.writeHead(204).end();
    }
    const [type, text, more] = files[request.url] ?? [];
    if (text === undefined) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": type, "cache-control": "no-store", ...more });
    return response.end(text);
  });
  return `http://127.0.0.1:${port}`;
}
