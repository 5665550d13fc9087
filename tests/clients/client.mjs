// Lists and calls tools through a gateway with the official `@modelcontextprotocol/sdk`, and prints what came back.
//
// stdin and stdout are those of client.py.

import { text } from "node:stream/consumers";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { McpError } from "@modelcontextprotocol/sdk/types.js";

// A busy machine is not what is tested.
const LIMIT = { timeout: 180_000 };

async function call(client, { name, arguments: given }) {
  try {
    return { result: await client.callTool({ name, arguments: given }, undefined, LIMIT) };
  } catch (error) {
    if (!(error instanceof McpError)) throw error;
    return { error: { code: error.code, message: error.message, data: error.data } };
  }
}

async function tools(client) {
  const found = {};
  let cursor;
  do {
    const page = await client.listTools({ cursor }, LIMIT);
    for (const tool of page.tools) found[tool.name] = tool.inputSchema;
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return found;
}

const plan = JSON.parse(await text(process.stdin));
const transport = new StreamableHTTPClientTransport(new URL(plan.url), {
  requestInit: { headers: { "X-API-Key": plan.key } },
});
const client = new Client({ name: "caxton-test", version: "0.0.0" });
await client.connect(transport, LIMIT);
const seen = {
  protocol: transport.protocolVersion,
  server: client.getServerVersion()?.name,
  tools: await tools(client),
  calls: [],
};
for (const each of plan.calls) seen.calls.push(await call(client, each));
await client.close();
console.log(JSON.stringify(seen));
