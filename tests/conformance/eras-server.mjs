// A server of one generation with tools, prompts, resources, apps, templates, skills and completions, all of which answer; part of `eras`.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

const TEXT = { type: "string" };
const of = (properties, required = Object.keys(properties)) => ({ type: "object", properties, required });
const hint = (readOnlyHint) => ({ annotations: { readOnlyHint } });
export const TEXTS = ["a", "b", "c"];
/** The tools; all have a `text`, so that a policy about all of them can name it. */
export const TOOLS = [
  { name: "alpha", inputSchema: of({ text: TEXT }), ...hint(true) },
  { name: "beta", inputSchema: of({ text: TEXT }), ...hint(false) },
  { name: "gamma", inputSchema: of({ text: TEXT }), ...hint(true) },
  { name: "ask", inputSchema: of({ text: TEXT }), ...hint(false) },
];
export const PROMPTS = ["alpha", "beta", "brief", "delta"].map((name) => ({ name }));
/** The last two are apps. */
export const RESOURCES = [
  "era://a/1",
  "era://a/2",
  "era://b/1",
  "file:///a/1",
  "file:///b/1",
  "ui://a/1",
  "ui://b/1",
].map((uri) => ({
  uri,
  name: uri,
}));
export const TEMPLATES = ["era://a/{id}", "era://c/{id}", "file:///b/{id}"].map((uriTemplate) => ({
  uriTemplate,
  name: uriTemplate,
}));
export const SKILLS = ["skill://a/SKILL.md", "skill://b/SKILL.md"].map((uri) => ({
  uri,
  frontmatter: { name: uri, description: uri },
  resources: [],
}));
const CAPABILITIES = {
  tools: {},
  prompts: {},
  resources: { subscribe: true },
  completions: {},
  extensions: { "io.modelcontextprotocol/skills": {} },
};
const words = (text) => ({ content: [{ type: "text", text }] });
const question = { message: "Who?", requestedSchema: { type: "object", properties: {} } };

/** Resolves with the port, and with `got`: each request that was to be decided, as text. */
export async function startServer(stateless) {
  const got = [];
  const waiting = new Map();

  /** A question in the older generation: on the call's own stream. */
  function ask(message, response) {
    const id = randomUUID();
    response.writeHead(200, { "content-type": "text/event-stream" });
    const say = (value) => response.write(`data: ${JSON.stringify({ jsonrpc: "2.0", ...value })}\n\n`);
    say({ id, method: "elicitation/create", params: question });
    waiting.set(id, () => {
      say({ id: message.id, result: words("asked") });
      response.end();
    });
  }

  function result(message) {
    const { name, uri, arguments: given } = message.params ?? {};
    switch (message.method) {
      case "server/discover":
        return stateless && { supportedVersions: ["2026-07-28"], capabilities: CAPABILITIES };
      case "initialize":
        return (
          !stateless && {
            protocolVersion: "2025-11-25",
            capabilities: CAPABILITIES,
            serverInfo: { name: "eras", version: "1.0.0" },
          }
        );
      case "tools/list":
        return { tools: TOOLS };
      case "prompts/list":
        return { prompts: PROMPTS };
      case "resources/list":
        return { resources: RESOURCES };
      case "resources/templates/list":
        return { resourceTemplates: TEMPLATES };
      case "tools/call":
        if (name === "ask" && stateless && message.params.inputResponses === undefined)
          return {
            resultType: "input_required",
            inputRequests: { who: { method: "elicitation/create", params: { mode: "form", ...question } } },
            requestState: "once",
          };
        return words(`${name} ${given.text}`);
      case "prompts/get":
        return { messages: [{ role: "user", content: { type: "text", text: name } }] };
      case "resources/read":
        return { contents: [{ uri, text: uri }] };
      case "skills/list":
        return { skills: SKILLS };
      case "skills/get":
        return { skill: SKILLS.find((skill) => skill.uri === uri) };
      case "completion/complete":
        return { completion: { values: ["x"] } };
      case "resources/subscribe":
      case "resources/unsubscribe":
        return {};
      default:
        return undefined;
    }
  }

  const server = createServer(async (request, response) => {
    if (request.method !== "POST") return response.writeHead(request.method === "DELETE" ? 204 : 405).end();
    const parts = [];
    for await (const part of request) parts.push(part);
    const message = JSON.parse(Buffer.concat(parts).toString("utf8"));
    if (message.method === undefined) {
      waiting.get(message.id)?.();
      waiting.delete(message.id);
      return response.writeHead(202).end();
    }
    if (message.id === undefined) return response.writeHead(202).end();
    got.push(message);
    if (message.method === "subscriptions/listen" && stateless) {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const { notifications } = message.params;
      const told = { method: "notifications/subscriptions/acknowledged", params: { notifications } };
      return response.write(`data: ${JSON.stringify({ jsonrpc: "2.0", ...told })}\n\n`);
    }
    if (message.method === "tools/call" && message.params.name === "ask" && !stateless)
      return ask(message, response);
    const found = result(message);
    const more = stateless ? { resultType: "complete", ttlMs: 0, cacheScope: "private" } : {};
    const answer = found ? { result: { ...more, ...found } } : { error: { code: -32601, message: "no" } };
    const session = message.method === "initialize" ? { "mcp-session-id": randomUUID() } : {};
    response.writeHead(200, { "content-type": "application/json", ...session });
    return response.end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...answer }));
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return { port: server.address().port, got };
}
