// A small MCP server over streamable HTTP without sessions: one tool that echoes, and as many others as asked for.
import http from "node:http";

const more = Number(process.argv[2] ?? 0);
const schema = { type: "object", properties: { text: { type: "string" } }, required: ["text"] };
const tools = ["echo", ...Array.from({ length: more }, (_, at) => `tool_${at}`)].map((name) => ({
  name,
  description: `The tool ${name}.`,
  inputSchema: schema,
}));

function answer({ method, params }) {
  if (method === "initialize") {
    return {
      protocolVersion: "2025-11-25",
      capabilities: { tools: {} },
      serverInfo: { name: "bench", version: "1" },
    };
  }
  if (method === "tools/list") return { tools };
  if (method === "tools/call") return { content: [{ type: "text", text: params.arguments.text }] };
  return undefined;
}

const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const message = JSON.parse(Buffer.concat(parts).toString() || "{}");
    if (message.id === undefined) return response.writeHead(202).end();
    const result = answer(message);
    const error = { code: -32601, message: "method not found" };
    const body = JSON.stringify({ jsonrpc: "2.0", id: message.id, ...(result ? { result } : { error }) });
    response.writeHead(result ? 200 : 400, {
      "Content-Type": "application/json",
      "Content-Length": Buffer.byteLength(body),
    });
    response.end(body);
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
