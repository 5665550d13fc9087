// An MCP server over HTTP that does everything wrong with one call and nothing with the next: `good` always answers,
// `bad` does what its argument `row` says.
//
// stdin: one line of JSON, {"stateless": true} for 2026-07-28 or {} for the protocol with sessions. stdout: one line,
// {"port": …}. It ends when stdin does. MCP is at /mcp; beside it:
//   GET /rows      [{"row", "outcome", "about"}]: outcome is "answers" (who keeps to the standards gets `good: ROW`),
//                  "fails" (no answer that one may rely on, or one of more than 4 MB), "either", or "hangs" (until the
//                  client gives up)
//   GET /seen      {"requests": […], "bytes": …}: all that has come in at /mcp and /elsewhere since the last DELETE of it;
//                  `bytes` is what came over the wire on all connections, in base64
//   POST /restart  forgets the sessions and closes the idle connections; the port stays
// Further arguments of `bad`: `seconds` for slow rows, `key` to begin anew where a row goes wrong only once. Further keys
// of the plan: `list` and `initialize`, each a name out of LISTS and GREETINGS below, for what goes wrong before a call.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";

const lines = createInterface({ input: process.stdin });
const plan = JSON.parse((await lines[Symbol.asyncIterator]().next()).value);
lines.on("close", () => process.exit(0));

const VERSIONS = ["2025-11-25", "2025-06-18", "2025-03-26"];
const STATELESS = "2026-07-28";
const INFO = { name: "misbehave", version: "1.0.0" };
const LARGE = 5 * 1024 * 1024;
const RECORDED = 64 * 1024 * 1024;

const JSON_TYPE = { "content-type": "application/json" };
const SSE_TYPE = { "content-type": "text/event-stream", "cache-control": "no-store" };
const HTML = "<!doctype html><title>Oops</title><h1>Something went wrong</h1>\n";

let sessions = new Set();
let requests = [];
let bytes = [];
/** Keys for which a row that goes wrong once has done so. */
const wentWrong = new Set();

// ---- answers ----

const result = (words) => ({
  ...(plan.stateless && { resultType: "complete" }),
  content: [{ type: "text", text: words }],
  isError: false,
});
const envelope = (call, value) => ({ jsonrpc: "2.0", id: call.id, result: value });
const good = (call) => envelope(call, result(`good: ${call.row}`));
const failed = (call, code = -32000, message = "it went wrong") => ({
  jsonrpc: "2.0",
  id: call.id,
  error: { code, message },
});
const log = (call) => ({
  jsonrpc: "2.0",
  method: "notifications/message",
  params: { level: "info", data: `about ${call.row}` },
});

const event = (value) => `event: message\ndata: ${JSON.stringify(value)}\n\n`;

function send(call, status, headers, body = "") {
  const whole = Buffer.isBuffer(body) ? body : Buffer.from(body);
  call.response.writeHead(status, { ...headers, "content-length": whole.length });
  call.response.end(whole);
}
const json = (call, value) => send(call, 200, JSON_TYPE, typeof value === "string" ? value : JSON.stringify(value));
const sse = (call, ...parts) =>
  send(call, 200, SSE_TYPE, parts.map((part) => (typeof part === "string" ? part : event(part))).join(""));

/** A row that answers with one JSON value. */
const says = (value) => (call) => json(call, value(call));
/** A row whose result is this. */
const gives = (value) => (call) => json(call, envelope(call, value(call)));
/** A row that answers with these parts of a stream. */
const streams = (parts) => (call) => sse(call, ...parts(call));

/** Bytes on the wire, without Node between; the connection is not used again. */
function raw(call, ...parts) {
  const { socket } = call.response.req;
  for (const part of parts) socket.write(part);
  return socket;
}
const head = (...fields) => `${["HTTP/1.1 200 OK", ...fields].join("\r\n")}\r\n\r\n`;
const typed = (length) => head("Content-Type: application/json", `Content-Length: ${length}`);
function rawGood(call, begin) {
  const body = JSON.stringify(good(call));
  raw(call, begin(Buffer.byteLength(body)), body).end();
}

/** Writes until the client has gone. */
async function forever(call, headers, next) {
  const { response } = call;
  response.writeHead(200, headers);
  for (let round = 0; !response.destroyed; round += 1) {
    response.write(next(round));
    while (response.writableNeedDrain && !response.destroyed) await sleep(5);
    await sleep(1);
  }
}

// ---- rows ----

const rows = new Map();
function row(name, outcome, about, answer) {
  rows.set(name, { outcome, about, answer });
}

for (const status of [400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 501, 502, 503, 504]) {
  const bodies = {
    empty: [{}, () => ""],
    jsonrpc: [JSON_TYPE, (call) => JSON.stringify(failed(call))],
    html: [{ "content-type": "text/html; charset=utf-8" }, () => HTML],
    text: [{ "content-type": "text/plain" }, () => "no\n"],
  };
  for (const [kind, [headers, body]] of Object.entries(bodies)) {
    row(`${status}-${kind}`, "fails", `status ${status}, body: ${kind}`, (call) =>
      send(call, status, headers, body(call)),
    );
  }
}
row("401-challenge", "fails", "status 401 that asks for a token", (call) =>
  send(call, 401, { "www-authenticate": 'Bearer resource_metadata="http://127.0.0.1:1/", scope="everything"' }),
);
row("429-retry-after", "fails", "status 429 with Retry-After", (call) => send(call, 429, { "retry-after": "1" }));
row("503-retry-after", "fails", "status 503 with Retry-After", (call) =>
  send(call, 503, { "retry-after": "3600" }),
);
row("599", "fails", "a status that nobody has defined", (call) => send(call, 599, {}));

row("200-html", "fails", "HTML where JSON should be", (call) =>
  send(call, 200, { "content-type": "text/html" }, HTML),
);
row("200-empty", "fails", "status 200 with no body", (call) => send(call, 200, {}));
row("200-empty-json", "fails", "JSON by its type, with no body", (call) => send(call, 200, JSON_TYPE));
row("202", "fails", "status 202 to a request", (call) => send(call, 202, {}));
row("204", "fails", "status 204 to a request", (call) => call.response.writeHead(204).end());
row("no-type", "either", "the answer without Content-Type", (call) =>
  send(call, 200, {}, JSON.stringify(good(call))),
);
row("text-type", "either", "the answer as text/plain", (call) =>
  send(call, 200, { "content-type": "text/plain" }, JSON.stringify(good(call))),
);
row("json-as-sse", "fails", "JSON with the type of a stream", (call) =>
  send(call, 200, SSE_TYPE, JSON.stringify(good(call))),
);
row("sse-as-json", "fails", "a stream with the type of JSON", (call) => json(call, event(good(call))));
row("type-parameters", "answers", "Content-Type with parameters and capitals", (call) =>
  send(call, 200, { "content-type": 'Application/JSON; charset="UTF-8"; q=1' }, JSON.stringify(good(call))),
);

for (const [name, value] of [
  ["null", null],
  ["array", []],
  ["string", "good"],
  ["number", 7],
  ["true", true],
]) {
  row(
    `result-${name}`,
    "fails",
    `a result that is ${name}`,
    gives(() => value),
  );
}
row(
  "result-empty",
  "fails",
  "a result with nothing in it",
  gives(() => ({})),
);
row(
  "result-missing",
  "fails",
  "neither result nor error",
  says(({ id }) => ({ jsonrpc: "2.0", id })),
);
row(
  "result-and-error",
  "fails",
  "result and error",
  says((call) => ({ ...good(call), error: failed(call).error })),
);
row(
  "error-string",
  "fails",
  "an error that is a text",
  says(({ id }) => ({ jsonrpc: "2.0", id, error: "it went wrong" })),
);
row(
  "error-code-string",
  "fails",
  "an error whose code is a text",
  says(({ id }) => ({ jsonrpc: "2.0", id, error: { code: "-32000", message: "it went wrong" } })),
);
row(
  "error-no-message",
  "fails",
  "an error without message",
  says(({ id }) => ({ jsonrpc: "2.0", id, error: { code: -32000 } })),
);
row(
  "error-huge-code",
  "fails",
  "an error whose code is no integer of any size",
  says(({ id }) => `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"error":{"code":1e300,"message":"it went wrong"}}`),
);
row(
  "error-proper",
  "fails",
  "a proper JSON-RPC error",
  says((call) => failed(call, -32602, "bad params")),
);

const item = (value) => gives(() => ({ ...result(""), content: [value] }));
row(
  "content-missing",
  "fails",
  "a result without content",
  gives(() => ({ isError: false })),
);
row(
  "content-null",
  "fails",
  "content that is null",
  gives(() => ({ content: null })),
);
row(
  "content-object",
  "fails",
  "content that is no array",
  gives(() => ({ content: { type: "text", text: "good" } })),
);
row(
  "content-string",
  "fails",
  "content that is a text",
  gives(() => ({ content: "good" })),
);
row("item-unknown", "either", "an item of a type that nobody knows", item({ type: "hologram", beam: "good" }));
row("item-no-type", "fails", "an item without type", item({ text: "good" }));
row("item-number", "fails", "an item that is a number", item(7));
row("item-null", "fails", "an item that is null", item(null));
row("item-text-number", "fails", "a text that is a number", item({ type: "text", text: 7 }));
row(
  "item-image-broken",
  "either",
  "an image that is no base64",
  item({ type: "image", data: "%%%", mimeType: "image/png" }),
);
row("item-resource-empty", "fails", "an embedded resource without resource", item({ type: "resource" }));
row(
  "is-error-string",
  "fails",
  "isError that is a text",
  gives(() => ({ ...result("good"), isError: "false" })),
);
row(
  "structured-string",
  "either",
  "structured content that is a text",
  gives(() => ({ ...result("good"), structuredContent: "good" })),
);
row(
  "meta-string",
  "fails",
  "_meta that is a text",
  gives(() => ({ ...result("good"), _meta: "good" })),
);
row(
  "extra-fields",
  "answers",
  "fields that nobody knows, at each level",
  says((call) => ({ ...envelope(call, { ...result(`good: ${call.row}`), "x-more": { a: [1] } }), more: true })),
);
row(
  "result-type-unknown",
  "either",
  "a resultType that nobody knows",
  gives(({ row: name }) => ({ ...result(`good: ${name}`), resultType: "riddle" })),
);

row(
  "huge-result",
  "fails",
  "5 MB of text",
  gives(() => result("x".repeat(LARGE))),
);
row("huge-result-chunked", "fails", "5 MB of text of a length that is not told", (call) => {
  call.response.writeHead(200, JSON_TYPE);
  call.response.end(JSON.stringify(envelope(call, result("x".repeat(LARGE)))));
});
row(
  "huge-event",
  "fails",
  "an event of 5 MB",
  streams((call) => [envelope(call, result("x".repeat(LARGE)))]),
);
row(
  "huge-event-lines",
  "fails",
  "an event of 5 MB in many lines",
  streams(() => [`${"data: x\n".repeat(LARGE / 8)}\n`]),
);
row(
  "huge-line",
  "fails",
  "a line of 5 MB that is no field",
  streams((call) => [`:${"x".repeat(LARGE)}\n\n`, good(call)]),
);
row("endless-json", "fails", "JSON that does not end", (call) =>
  forever(call, JSON_TYPE, (round) => (round === 0 ? '{"jsonrpc":"2.0","more":"' : "x".repeat(65536))),
);
row("endless-event", "fails", "an event that does not end", (call) =>
  forever(call, SSE_TYPE, (round) => (round === 0 ? "data: " : "x".repeat(65536))),
);
row("endless-notifications", "hangs", "notifications for ever, and no answer", (call) =>
  forever(call, SSE_TYPE, () => event(log(call))),
);
row("endless-comments", "hangs", "comments for ever, and no answer", (call) =>
  forever(call, SSE_TYPE, () => ": still here\n\n"),
);
row(
  "many-notifications",
  "answers",
  "5,000 notifications, then the answer",
  streams((call) => [...Array.from({ length: 5000 }, () => log(call)), good(call)]),
);
row("gzip", "either", "gzip that nobody asked for", (call) =>
  send(call, 200, { ...JSON_TYPE, "content-encoding": "gzip" }, gzipSync(JSON.stringify(good(call)))),
);
row("gzip-not", "fails", "says gzip and is not", (call) =>
  send(call, 200, { ...JSON_TYPE, "content-encoding": "gzip" }, JSON.stringify(good(call))),
);
row("gzip-bomb", "fails", "64 MB in 64 KB of gzip", (call) =>
  send(
    call,
    200,
    { ...JSON_TYPE, "content-encoding": "gzip" },
    gzipSync(JSON.stringify(envelope(call, result("x".repeat(64 * 1024 * 1024))))),
  ),
);
row("encoding-unknown", "fails", "an encoding that nobody knows", (call) =>
  send(call, 200, { ...JSON_TYPE, "content-encoding": "rot13" }, JSON.stringify(good(call))),
);

row(
  "sse-answer",
  "answers",
  "the answer as a stream",
  streams((call) => [good(call)]),
);
row(
  "sse-after-notification",
  "answers",
  "the answer after a notification",
  streams((call) => [log(call), good(call)]),
);
row(
  "sse-after-comments",
  "answers",
  "the answer after comments and fields that nobody knows",
  streams((call) => [": hello\n", "retry: 10\nid: 1\n\n", "color: blue\n", good(call)]),
);
row(
  "sse-priming",
  "answers",
  "an event without data first",
  streams((call) => ["id: 1\nretry: 10\ndata: \n\n", good(call)]),
);
row("sse-crlf", "answers", "lines that end with CR LF", (call) =>
  sse(call, event(good(call)).replaceAll("\n", "\r\n")),
);
row("sse-cr", "answers", "lines that end with CR", (call) => sse(call, event(good(call)).replaceAll("\n", "\r")));
row(
  "sse-bom",
  "answers",
  "a byte order mark first",
  streams((call) => ["\ufeff", good(call)]),
);
row("sse-lines", "answers", "the answer in several data lines", (call) =>
  sse(
    call,
    `${JSON.stringify(good(call), null, 1)
      .split("\n")
      .map((line) => `data: ${line}`)
      .join("\n")}\n\n`,
  ),
);
row("sse-no-space", "answers", "no space behind the colon", (call) =>
  sse(call, `data:${JSON.stringify(good(call))}\n\n`),
);
row("sse-by-bytes", "answers", "a byte at a time", async (call) => {
  call.response.writeHead(200, SSE_TYPE);
  call.response.req.socket.setNoDelay(true);
  for (const byte of Buffer.from(event(good(call)))) {
    call.response.write(Buffer.of(byte));
    await sleep(1);
  }
  call.response.end();
});
row("sse-event-name", "either", "the answer in an event of another name", (call) =>
  sse(call, `event: other\ndata: ${JSON.stringify(good(call))}\n\n`),
);
row("sse-unfinished", "either", "the answer without the blank line behind it", (call) =>
  sse(call, `data: ${JSON.stringify(good(call))}\n`),
);
row(
  "sse-no-answer",
  "fails",
  "a stream that ends without the answer",
  streams((call) => [log(call)]),
);
row("sse-empty", "fails", "a stream that ends at once", (call) => send(call, 200, SSE_TYPE));
row("sse-cut", "fails", "a stream that breaks off in the answer", (call) => {
  const text = event(good(call));
  raw(
    call,
    head("Content-Type: text/event-stream", "Transfer-Encoding: chunked"),
    `${(1000).toString(16)}\r\n${text.slice(0, 40)}`,
  ).end();
});
row(
  "sse-other-id",
  "fails",
  "the answer to another request",
  streams((call) => [{ ...good(call), id: "somebody-else" }]),
);
row(
  "sse-other-id-first",
  "answers",
  "the answer to another request, then the right one",
  streams((call) => [{ ...good(call), id: "somebody-else" }, good(call)]),
);
row(
  "sse-two-answers",
  "either",
  "two answers",
  streams((call) => [good(call), envelope(call, result("another"))]),
);
row(
  "sse-invalid-json",
  "fails",
  "an event that is no JSON",
  streams(() => ["data: {\n\n"]),
);
row(
  "sse-invalid-json-first",
  "either",
  "an event that is no JSON, then the answer",
  streams((call) => ["data: {\n\n", good(call)]),
);
row(
  "sse-batch",
  "either",
  "an event with an array of messages",
  streams((call) => [[log(call), good(call)]]),
);
row(
  "sse-request",
  "either",
  "a question to the client, then the answer",
  streams((call) => [
    { jsonrpc: "2.0", id: "q1", method: "sampling/createMessage", params: { messages: [], maxTokens: 1 } },
    good(call),
  ]),
);
row(
  "sse-unknown-request",
  "either",
  "a request of a method that nobody knows, then the answer",
  streams((call) => [{ jsonrpc: "2.0", id: "q2", method: "riddle/ask" }, good(call)]),
);
row(
  "sse-foreign-progress",
  "either",
  "progress of a call that is not there, then the answer",
  streams((call) => [
    { jsonrpc: "2.0", method: "notifications/progress", params: { progressToken: "nobody", progress: 1 } },
    good(call),
  ]),
);
row(
  "sse-list-changed",
  "answers",
  "`tools/list_changed` in the middle, then the answer",
  streams((call) => [{ jsonrpc: "2.0", method: "notifications/tools/list_changed" }, good(call)]),
);

row(
  "other-id",
  "fails",
  "JSON with the id of another request",
  says((call) => ({ ...good(call), id: "somebody-else" })),
);
row(
  "id-string",
  "fails",
  "the id as text, if it was a number, and the other way",
  says((call) => ({ ...good(call), id: typeof call.id === "number" ? String(call.id) : 7 })),
);
row(
  "id-float",
  "either",
  "the id with a fraction of zero",
  says((call) => JSON.stringify(good(call)).replace(/"id":(\d+)/, '"id":$1.0')),
);
row(
  "id-null",
  "fails",
  "the id null",
  says((call) => ({ ...good(call), id: null })),
);
row(
  "id-missing",
  "fails",
  "no id",
  says(({ row: name }) => ({ jsonrpc: "2.0", result: result(`good: ${name}`) })),
);
row(
  "version-1",
  "fails",
  "jsonrpc 1.0",
  says((call) => ({ ...good(call), jsonrpc: "1.0" })),
);
row(
  "version-missing",
  "fails",
  "no jsonrpc",
  says(({ id, row: name }) => ({ id, result: result(`good: ${name}`) })),
);
row(
  "batch",
  "fails",
  "an array with the answer in it",
  says((call) => [good(call)]),
);
row(
  "batch-two",
  "fails",
  "an array with a notification and the answer",
  says((call) => [log(call), good(call)]),
);
row(
  "two-documents",
  "fails",
  "two JSON documents",
  says((call) => `${JSON.stringify(good(call))}\n${JSON.stringify(envelope(call, result("another")))}`),
);
row("notification", "fails", "a notification in place of the answer", says(log));

row("invalid-utf8", "fails", "bytes that are no UTF-8", (call) =>
  send(
    call,
    200,
    JSON_TYPE,
    Buffer.concat([
      Buffer.from(JSON.stringify(good(call)).slice(0, -3)),
      Buffer.of(0xff, 0xfe),
      Buffer.from("}}}"),
    ]),
  ),
);
row("invalid-utf8-text", "fails", "bytes that are no UTF-8 in the text of the answer", (call) => {
  const [before, after] = JSON.stringify(envelope(call, result("good: @"))).split("@");
  send(call, 200, JSON_TYPE, Buffer.concat([Buffer.from(before), Buffer.of(0xc3, 0x28), Buffer.from(after)]));
});
row("utf16", "fails", "UTF-16", (call) =>
  send(
    call,
    200,
    { "content-type": "application/json; charset=utf-16" },
    Buffer.from(JSON.stringify(good(call)), "utf16le"),
  ),
);
row(
  "bom",
  "either",
  "a byte order mark first",
  says((call) => `\ufeff${JSON.stringify(good(call))}`),
);
row(
  "invalid-json",
  "fails",
  "no JSON",
  says(() => "{'jsonrpc': '2.0'}"),
);
row(
  "truncated-json",
  "fails",
  "JSON that stops in the middle",
  says((call) => JSON.stringify(good(call)).slice(0, -4)),
);
row(
  "duplicate-result",
  "fails",
  "`result` twice",
  says((call) => JSON.stringify(good(call)).replace('"result":', '"result":{"content":[]},"result":')),
);
row(
  "duplicate-id",
  "fails",
  "`id` twice",
  says((call) => JSON.stringify(good(call)).replace('"id":', '"id":"somebody-else","id":')),
);
row(
  "duplicate-deep",
  "fails",
  "a key twice, inside the content",
  says((call) => JSON.stringify(good(call)).replace('"text":"good', '"text":"bad","text":"good')),
);
row(
  "depth-1000",
  "either",
  "1,000 levels",
  says(
    (call) =>
      `{"jsonrpc":"2.0","id":${JSON.stringify(call.id)},"result":{"content":[],"_meta":{"deep":${"[".repeat(1000)}${"]".repeat(1000)}}}}`,
  ),
);
row(
  "depth-100000",
  "fails",
  "100,000 levels",
  says(
    (call) =>
      `{"jsonrpc":"2.0","id":${JSON.stringify(call.id)},"result":${"[".repeat(100_000)}${"]".repeat(100_000)}}`,
  ),
);
row(
  "lone-surrogate",
  "fails",
  "half a character",
  says((call) => JSON.stringify(envelope(call, result("good: @"))).replace("@", "\\ud800")),
);
row(
  "nul-in-text",
  "either",
  "NUL in the text",
  says((call) => JSON.stringify(envelope(call, result("good: @"))).replace("@", "\\u0000")),
);
row(
  "huge-number",
  "either",
  "a number that no program can hold",
  says((call) => JSON.stringify(good(call)).replace('"isError":false', '"isError":false,"_meta":{"n":1e400}')),
);
row(
  "long-number",
  "either",
  "a number of 10,000 digits",
  says((call) =>
    JSON.stringify(good(call)).replace('"isError":false', `"isError":false,"_meta":{"n":${"9".repeat(10_000)}}`),
  ),
);
row(
  "raw-value-key",
  "either",
  "a key that some JSON readers take for an order",
  says((call) =>
    JSON.stringify(good(call)).replace(
      '"isError":false',
      '"isError":false,"_meta":{"$serde_json::private::RawValue":"{}"}',
    ),
  ),
);

row("slow-headers", "answers", "the answer after some time (`seconds`, 2)", async (call) => {
  await sleep(call.seconds * 1000);
  json(call, good(call));
});
row("slow-body", "answers", "the body in drops, over some time (`seconds`, 2)", async (call) => {
  const text = JSON.stringify(good(call));
  call.response.writeHead(200, { ...JSON_TYPE, "content-length": Buffer.byteLength(text) });
  for (const letter of text) {
    call.response.write(letter);
    await sleep((call.seconds * 1000) / text.length);
  }
  call.response.end();
});
row("slow-stream", "answers", "headers at once, the event after some time (`seconds`, 2)", async (call) => {
  call.response.writeHead(200, SSE_TYPE);
  call.response.flushHeaders();
  await sleep(call.seconds * 1000);
  call.response.end(event(good(call)));
});
row("no-headers", "hangs", "nothing at all", () => {});
row("no-body", "hangs", "headers, and nothing more", (call) => raw(call, typed(100)));
row("half-body", "hangs", "half of the body, and nothing more", (call) => raw(call, typed(100), '{"jsonrpc":'));
row("half-headers", "hangs", "half of the headers, and nothing more", (call) =>
  raw(call, "HTTP/1.1 200 OK\r\nContent-Ty"),
);
row("no-event", "hangs", "a stream, and nothing in it", (call) => {
  call.response.writeHead(200, SSE_TYPE);
  call.response.flushHeaders();
});

row("close-before-headers", "fails", "closes at once", (call) => call.response.req.socket.end());
row("reset-before-headers", "fails", "resets at once", (call) => call.response.req.socket.resetAndDestroy());
row("close-in-headers", "fails", "closes in the headers", (call) =>
  raw(call, "HTTP/1.1 200 OK\r\nContent-Ty").end(),
);
row("close-in-body", "fails", "closes in the body", (call) => raw(call, typed(500), '{"jsonrpc":"2.0",').end());
row("reset-in-body", "fails", "resets in the body", async (call) => {
  const socket = raw(call, typed(500), '{"jsonrpc":"2.0",');
  await sleep(50);
  socket.resetAndDestroy();
});
row("reset-in-stream", "fails", "resets in a stream", async (call) => {
  call.response.writeHead(200, SSE_TYPE);
  call.response.write(event(log(call)));
  await sleep(50);
  call.response.req.socket.resetAndDestroy();
});
row("reset-after-answer", "answers", "says that it closes, and resets behind the whole answer", async (call) => {
  const text = JSON.stringify(good(call));
  const socket = raw(
    call,
    head("Content-Type: application/json", `Content-Length: ${Buffer.byteLength(text)}`, "Connection: close"),
    text,
  );
  await sleep(100);
  socket.resetAndDestroy();
});
row("close-in-chunk", "fails", "closes without the last chunk", (call) => {
  const text = JSON.stringify(good(call));
  raw(
    call,
    head("Content-Type: application/json", "Transfer-Encoding: chunked"),
    `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`,
  ).end();
});
row("half-closed", "answers", "closes its side behind the answer and still listens", (call) =>
  rawGood(call, (length) => typed(length)),
);
row("says-close", "answers", "`Connection: close`", (call) => {
  call.response.setHeader("connection", "close");
  json(call, good(call));
});

row("no-length", "answers", "a body that ends with the connection", (call) =>
  rawGood(call, () => head("Content-Type: application/json", "Connection: close")),
);
row("http-1.0", "answers", "HTTP/1.0", (call) =>
  rawGood(call, () => "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"),
);
row("http-2.5", "fails", "a version of HTTP that does not exist", (call) =>
  rawGood(call, (length) => typed(length).replace("1.1", "2.5")),
);
row("no-http", "fails", "something that is not HTTP", (call) => raw(call, "220 mail.example.test ESMTP\r\n").end());
row("status-letters", "fails", "a status of letters", (call) =>
  rawGood(call, (length) => typed(length).replace("200", "abc")),
);
row("length-twice", "fails", "two lengths", (call) =>
  rawGood(call, (length) =>
    head("Content-Type: application/json", `Content-Length: ${length}`, `Content-Length: ${length - 5}`),
  ),
);
row("length-negative", "fails", "a negative length", (call) => rawGood(call, () => typed(-1)));
row("length-too-large", "fails", "a length beyond 64 bits", (call) =>
  rawGood(call, () => typed("99999999999999999999999")),
);
row("length-and-chunks", "either", "a length and chunks", (call) => {
  const text = JSON.stringify(good(call));
  const chunks = `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n0\r\n\r\n`;
  raw(
    call,
    head("Content-Type: application/json", "Content-Length: 5", "Transfer-Encoding: chunked"),
    chunks,
  ).end();
});
row("chunk-size-letters", "fails", "a size of a chunk that is no number", (call) =>
  raw(call, head("Content-Type: application/json", "Transfer-Encoding: chunked"), "zz\r\n{}\r\n0\r\n\r\n").end(),
);
row("trailers", "answers", "trailers behind the body", (call) => {
  call.response.writeHead(200, { ...JSON_TYPE, trailer: "X-Digest" });
  call.response.write(JSON.stringify(good(call)));
  call.response.addTrailers({ "X-Digest": "abc" });
  call.response.end();
});
row("headers-large", "fails", "1 MB of headers", (call) =>
  rawGood(call, (length) => typed(length).replace("\r\n\r\n", `\r\nX-Large: ${"x".repeat(1024 * 1024)}\r\n\r\n`)),
);
row("headers-many", "either", "1,000 headers", (call) =>
  rawGood(call, (length) =>
    typed(length).replace(
      "\r\n\r\n",
      `\r\n${Array.from({ length: 1000 }, (_, at) => `X-${at}: y`).join("\r\n")}\r\n\r\n`,
    ),
  ),
);
row("header-bytes", "either", "a header with bytes that are no text", (call) =>
  raw(
    call,
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Odd: ",
    Buffer.of(0xff, 0x80),
    "\r\nConnection: close\r\n\r\n",
    JSON.stringify(good(call)),
  ).end(),
);
row("cookie", "answers", "a cookie, which nobody may bring back", (call) => {
  call.response.setHeader("set-cookie", "track=1; Path=/");
  json(call, good(call));
});
row("other-session", "either", "the id of another session", (call) => {
  call.response.setHeader("mcp-session-id", randomUUID());
  json(call, good(call));
});

row("100", "answers", "`100 Continue` first", (call) => {
  call.response.writeContinue();
  json(call, good(call));
});
row("103", "answers", "`103 Early Hints` first", (call) => {
  call.response.writeEarlyHints({ link: "</style.css>; rel=preload" });
  json(call, good(call));
});
row("1xx-many", "either", "100 answers of status 1xx first", (call) =>
  rawGood(call, (length) => "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100) + typed(length)),
);
row("101", "fails", "another protocol", (call) =>
  raw(call, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: riddle\r\nConnection: Upgrade\r\n\r\n").end(),
);
for (const status of [301, 302, 303, 307, 308]) {
  row(`${status}`, "fails", `sends the client elsewhere with ${status}`, (call) =>
    send(call, status, { location: `http://127.0.0.1:${server.address().port}/elsewhere` }),
  );
}
row("304", "fails", "nothing has changed", (call) => call.response.writeHead(304).end());

const once = (call) => {
  const key = `${call.row} ${call.key}`;
  return wentWrong.has(key) ? !wentWrong.delete(key) : Boolean(wentWrong.add(key));
};
const lost = (call) => {
  sessions.delete(call.session);
  send(
    call,
    404,
    JSON_TYPE,
    JSON.stringify({ jsonrpc: "2.0", id: null, error: { code: -32001, message: "Session not found" } }),
  );
};
if (!plan.stateless) {
  row("session-lost", "answers", "does not know the session any more, once; nothing was done", (call) =>
    once(call) ? lost(call) : json(call, good(call)),
  );
  row("session-lost-400", "either", "the same with 400, as some servers do it", (call) => {
    if (!once(call)) return json(call, good(call));
    sessions.delete(call.session);
    return send(
      call,
      400,
      JSON_TYPE,
      JSON.stringify({
        jsonrpc: "2.0",
        id: null,
        error: { code: -32000, message: "Bad Request: No valid session ID provided" },
      }),
    );
  });
  row("session-lost-always", "fails", "does not know any session, ever", lost);
  row("restart", "either", "starts anew in the middle, once: sessions and connections are gone", (call) => {
    if (!once(call)) return json(call, good(call));
    restart();
    return call.response.req.socket.destroy();
  });
}

/** Nobody's call is cut off: only connections without a request are closed. */
function restart() {
  sessions = new Set();
  server.closeIdleConnections();
}

// ---- the protocol ----

const TOOLS = [
  {
    name: "good",
    description: "Always answers.",
    inputSchema: { type: "object", properties: { text: { type: "string" } } },
  },
  {
    name: "bad",
    description: "Does what the row says.",
    inputSchema: {
      type: "object",
      properties: { row: { type: "string" }, seconds: { type: "number" }, key: { type: "string" } },
      required: ["row"],
    },
  },
];
const CACHED = plan.stateless ? { resultType: "complete", ttlMs: 0, cacheScope: "private" } : {};

function callTool(call, { name, arguments: given = {} }) {
  if (name === "good") return json(call, envelope(call, result(`good: ${given.text ?? ""}`)));
  const found = name === "bad" ? rows.get(given.row) : undefined;
  if (!found) return json(call, failed(call, -32602, "there is no such tool or row"));
  Object.assign(call, { row: given.row, seconds: given.seconds ?? 2, key: given.key ?? "" });
  return found.answer(call);
}

const tool = (name, more = {}) => ({
  name,
  description: "Is only there.",
  inputSchema: { type: "object" },
  ...more,
});
const page = (tools, nextCursor) => ({ ...CACHED, tools, ...(nextCursor !== undefined && { nextCursor }) });

// What can be wrong with `tools/list`. `good` and `bad` are on the first page, but for the last four.
const LISTS = {
  malformed: () =>
    page([
      tool(7),
      tool(""),
      tool("no-schema", { inputSchema: undefined }),
      tool("schema-text", { inputSchema: "object" }),
      tool("schema-array", { inputSchema: { type: "array" } }),
      tool("description-array", { description: ["Is only there."] }),
      tool("control\u0007"),
      tool("hidden", { description: "Is \u202eonly there." }),
      tool("output-text", { outputSchema: "object" }),
      tool("annotations-text", { annotations: "safe" }),
      tool("twice"),
      tool("twice", { description: "Has the name of another." }),
      "good",
      null,
      ...TOOLS,
      tool("last"),
    ]),
  "cursor-repeats": () => page(TOOLS, "again"),
  "cursor-empty": () => page(TOOLS, ""),
  "cursor-number": () => page(TOOLS, 7),
  "cursor-null": () => page(TOOLS, null),
  "cursor-endless": (cursor) =>
    page(cursor === undefined ? TOOLS : [tool(`tool-${cursor}`)], String(Number(cursor ?? 0) + 1)),
  "two-pages": (cursor) => (cursor === undefined ? page(TOOLS, "next") : page([tool("last")])),
  "second-page-fails": (cursor) => (cursor === undefined ? page(TOOLS, "next") : undefined),
  many: () => page([...TOOLS, ...Array.from({ length: 5000 }, (_, at) => tool(`tool-${at}`))]),
  "huge-definition": () => page([...TOOLS, tool("huge", { description: "x".repeat(LARGE / 2) })]),
  empty: () => page([]),
  "no-array": () => ({ ...page([]), tools: {} }),
  nothing: () => ({}),
  fails: () => undefined,
};

// What can be wrong with the answer to `initialize`, or to `server/discover`.
const GREETINGS = {
  "no-session": (greeting) => greeting,
  "version-unknown": (greeting) => ({
    ...greeting,
    protocolVersion: "1999-01-01",
    supportedVersions: ["1999-01-01"],
  }),
  "version-number": (greeting) => ({ ...greeting, protocolVersion: 7, supportedVersions: 7 }),
  "no-capabilities": (greeting) => ({ ...greeting, capabilities: undefined }),
  "capabilities-array": (greeting) => ({ ...greeting, capabilities: [] }),
  "no-server-info": (greeting) => ({ ...greeting, serverInfo: undefined, _meta: undefined }),
  "long-instructions": (greeting) => ({ ...greeting, instructions: "x".repeat(LARGE) }),
  nothing: () => ({}),
};

function named(among, name) {
  if (name === undefined) return undefined;
  if (!Object.hasOwn(among, name)) throw new Error(`no such name: ${name}; there are ${Object.keys(among)}`);
  return among[name];
}
const listing = named(LISTS, plan.list) ?? (() => page(TOOLS));
const greeted = named(GREETINGS, plan.initialize) ?? ((greeting) => greeting);
// A server without sessions is not asked for one.
const sessionless = plan.stateless || plan.initialize === "no-session";

const COMMON = {
  "tools/list"(call, params) {
    const found = listing(params.cursor);
    json(call, found === undefined ? failed(call, -32603, "the list is lost") : envelope(call, found));
  },
  "tools/call": (call, params) => callTool(call, params),
};
const STATEFUL = {
  ...COMMON,
  ping: (call) => json(call, envelope(call, {})),
  initialize(call, params) {
    if (call.session !== undefined) call.response.setHeader("mcp-session-id", call.session);
    const protocolVersion = VERSIONS.includes(params.protocolVersion) ? params.protocolVersion : VERSIONS[0];
    const greeting = { protocolVersion, capabilities: { tools: { listChanged: true } }, serverInfo: INFO };
    json(call, envelope(call, greeted(greeting)));
  },
};
const MODERN = {
  ...COMMON,
  "server/discover"(call) {
    const greeting = {
      ...CACHED,
      supportedVersions: [STATELESS],
      capabilities: { tools: {} },
      _meta: { "io.modelcontextprotocol/serverInfo": INFO },
    };
    json(call, envelope(call, greeted(greeting)));
  },
};
const METHODS = plan.stateless ? MODERN : STATEFUL;

async function answerMcp(request, response, message) {
  const call = { response, id: message?.id, session: request.headers["mcp-session-id"] };
  if (!sessionless) {
    if (message?.method === "initialize") sessions.add((call.session = randomUUID()));
    else if (call.session === undefined)
      return send(
        call,
        400,
        JSON_TYPE,
        JSON.stringify(failed(call, -32000, "Bad Request: Mcp-Session-Id header is required")),
      );
    else if (!sessions.has(call.session)) return lost(call);
  }
  if (request.method === "DELETE" && !plan.stateless) {
    sessions.delete(call.session);
    return send(call, 200, {});
  }
  if (request.method !== "POST") return send(call, 405, { allow: "POST" });
  if (typeof message?.method !== "string") return send(call, message === undefined ? 400 : 202, {});
  if (call.id === undefined) return send(call, 202, {});
  const method = Object.hasOwn(METHODS, message.method) ? METHODS[message.method] : undefined;
  if (!method)
    return send(
      call,
      plan.stateless ? 404 : 200,
      JSON_TYPE,
      JSON.stringify(failed(call, -32601, "Method not found")),
    );
  return method(call, message.params ?? {});
}

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

const server = createServer(async (request, response) => {
  const seen = { method: request.method, url: request.url, headers: request.rawHeaders, body: "", ended: "open" };
  const told = request.url === "/mcp" || request.url === "/elsewhere";
  if (told) requests.push(seen);
  response.on("close", () => {
    seen.ended = response.writableFinished ? "answered" : "broken off";
  });
  try {
    const body = await read(request);
    seen.body = body.toString("utf8");
    if (request.url === "/mcp") {
      let message;
      try {
        message = JSON.parse(seen.body);
      } catch {
        // Answered with 400 below.
      }
      return await answerMcp(request, response, message);
    }
    const call = { response };
    if (request.url === "/rows") {
      return json(
        call,
        [...rows].map(([name, { outcome, about }]) => ({ row: name, outcome, about })),
      );
    }
    if (request.url === "/seen" && request.method === "DELETE") {
      [requests, bytes] = [[], []];
      return send(call, 204, {});
    }
    if (request.url === "/seen") return json(call, { requests, bytes: Buffer.concat(bytes).toString("base64") });
    if (request.url === "/restart" && request.method === "POST") {
      restart();
      return send(call, 204, {});
    }
    return send(call, 404, {});
  } catch (error) {
    // A client that has gone is what some rows are about.
    if (!request.socket.destroyed) console.error(error);
    return response.destroy();
  }
});
server.on("connection", (socket) => {
  let size = 0;
  socket.on("data", (part) => {
    size += part.length;
    if (size <= RECORDED) bytes.push(Buffer.from(part));
  });
  socket.on("error", () => {});
});
// A pooled connection lasts until its client closes it.
Object.assign(server, { keepAliveTimeout: 600_000, requestTimeout: 0, headersTimeout: 0, timeout: 0 });
server.listen(0, "127.0.0.1", () => process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`));
