// The work of `naughty`.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Client, inHeader, said } from "./mcp-client.mjs";
import { Stop, main, startCaxton } from "./processes.mjs";

const PLACE = dirname(fileURLToPath(import.meta.url));
const SHARED = join(PLACE, "../../../shared/testdata/naughty-strings/blns.json");
const SERVER = "naughty";
const AT_ONCE = 8;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { strings: { type: "string" }, keep: { type: "string" } },
});

const OWN = [
  "",
  " ",
  "a",
  "null",
  "__proto__",
  "constructor",
  "$serde_json::private::RawValue",
  "$serde_json::private::Number",
  "=?base64?YWJj?=",
  "=?base64?",
  "\u0000",
  "a\u0000b",
  "\u001b[31mred\u001b[0m",
  "line\nfeed",
  "line\r\nX-Evil: 1\r\n\r\n",
  "data: {}\n\ndata: {}",
  "tab\tand space ",
  " at the edges ",
  "\u007f\u0085\u2028\u2029",
  "\u200bzero\u200dwidth\ufeff",
  "\u202eoverride\u202c",
  "\u2066isolate\u2069",
  "\u{e0041}\u{e0042}tags",
  "e\u0301\u0302\u0303\u0304\u0305\u0306\u0307",
  "\u{1f469}\u200d\u{1f469}\u200d\u{1f467}",
  "a\ufffdb\uffff",
  "</script><script>alert(1)</script>",
  "'; DROP TABLE tools; --",
  "../../etc/passwd",
  "${jndi:ldap://x/y}",
  "x".repeat(5_000),
  "\u00e9".repeat(2_000),
  '{"a":1}',
  '"',
  "\\",
  "\\u0000",
];

function strings() {
  const file = options.strings ?? (existsSync(SHARED) ? SHARED : undefined);
  const more = file === undefined ? [] : JSON.parse(readFileSync(file, "utf8"));
  return [...new Set([...OWN, ...more])];
}

const SCHEMA = {
  type: "object",
  properties: { text: { type: "string", "x-mcp-header": "Text" } },
  additionalProperties: true,
};
const ECHO = { name: "echo", description: "Gives back what it is given.", inputSchema: SCHEMA };
const ANY = { type: "object", additionalProperties: true };

/** A server that gives back what it is given, with a tool for each text; resolves with its port and what it saw. */
async function startServer(texts, stateless) {
  const seen = [];
  const capabilities = { tools: {}, prompts: {}, resources: {} };
  const tools = [
    ECHO,
    ...texts.map((text, number) => ({ name: `described-${number}`, description: text, inputSchema: ANY })),
    ...texts.map((text) => ({ name: text, inputSchema: ANY })),
  ];
  const result = (message) => {
    switch (message.method) {
      case "initialize":
        return stateless
          ? undefined
          : {
              protocolVersion: "2025-11-25",
              capabilities,
              serverInfo: { name: "n", version: "1" },
            };
      case "server/discover":
        return stateless ? { supportedVersions: ["2026-07-28"], capabilities } : undefined;
      case "tools/list":
        return { tools };
      case "prompts/list":
        return { prompts: texts.map((name) => ({ name, description: name })) };
      case "resources/list":
        return { resources: texts.map((uri) => ({ uri, name: uri })) };
      case "prompts/get":
        return { messages: [{ role: "user", content: { type: "text", text: message.params.name } }] };
      case "resources/read":
        return { contents: [{ uri: message.params.uri, text: message.params.uri }] };
      case "tools/call": {
        const { name, arguments: given } = message.params;
        return { content: [{ type: "text", text: given.text ?? name }], structuredContent: { name, given } };
      }
      default:
        return {};
    }
  };
  const server = createServer(async (request, response) => {
    if (request.method !== "POST") return response.writeHead(405).end();
    const parts = [];
    for await (const part of request) parts.push(part);
    const message = JSON.parse(Buffer.concat(parts).toString("utf8"));
    seen.push({ headers: request.headers, message });
    if (message.id === undefined) return response.writeHead(202).end();
    const found = result(message);
    const more = stateless ? { resultType: "complete" } : {};
    const answer =
      found === undefined ? { error: { code: -32601, message: "no" } } : { result: { ...more, ...found } };
    response.writeHead(200, { "content-type": "application/json" });
    return response.end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...answer }));
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return { port: server.address().port, seen, close: () => server.close() };
}

const shown = (value) => JSON.stringify(value)?.slice(0, 120);
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** `work` for each item, some at once. */
async function each(items, work) {
  const left = [...items.entries()];
  const worker = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await work(next[1], next[0]);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** A header field as it arrived, as text. */
function decoded(value) {
  const [, base64] = /^=\?base64\?(.*)\?=$/.exec(value ?? "") ?? [];
  return base64 === undefined ? value : Buffer.from(base64, "base64").toString("utf8");
}

async function through(texts, stateless, logs, wrong) {
  const server = await startServer(texts, stateless);
  const upstream = { server: SERVER, port: server.port, keys: ["naughty"], tools: 10_000 };
  const gateway = await startCaxton(resolve(positionals[0]), upstream, logs);
  const plain = new Client(gateway, gateway.keys.naughty, `/servers/${SERVER}/mcp`);
  const caller = stateless ? plain : await plain.open();

  const listed = await caller.request("tools/list");
  const tools = new Map((listed.answer?.result?.tools ?? []).map((tool) => [tool.name, tool]));
  if (!tools.has("echo")) throw new Stop(`there is no list: ${shown(listed)}`);
  const log = readFileSync(join(logs, "gateway.log"), "utf8");
  const counts = { described: 0, named: 0 };
  for (const [number, text] of texts.entries()) {
    const tool = tools.get(`described-${number}`);
    if (tool !== undefined) {
      counts.described += 1;
      if (tool.description !== text) wrong(`description ${shown(text)} became ${shown(tool.description)}`);
    } else if (!log.includes(`described-${number}`))
      wrong(`the tool with the description ${shown(text)} is gone and not named in the log`);
  }
  for (const name of tools.keys())
    if (name !== "echo" && !name.startsWith("described-") && !texts.includes(name))
      wrong(`a tool was renamed to ${shown(name)}`);

  const calls = async (name, given, what, headers) => {
    const from = server.seen.length;
    const { answer, broken } = await caller.call(name, given, { headers });
    const own = server.seen.slice(from).filter(({ message }) => same(message.params?.arguments, given));
    if (!same(answer?.result?.structuredContent, { name, given }))
      wrong(`${what}: ${broken ?? shown(answer?.error ?? answer?.result)}`);
    else if (own.length === 0) wrong(`${what}: it did not arrive as it was sent`);
    return { answer, own };
  };
  await each(
    texts.filter((text) => tools.has(text)),
    async (name) => {
      counts.named += 1;
      await calls(name, { text: "x" }, `tool ${shown(name)}`);
    },
  );
  await each(texts, async (text) => {
    const field = stateless ? { "Mcp-Param-Text": inHeader(text) } : {};
    const { answer, own } = await calls("echo", { text }, `argument ${shown(text)}`, field);
    if (answer?.result && said(answer) !== text) wrong(`the result ${shown(text)} became ${shown(said(answer))}`);
    if (stateless && own.some(({ headers }) => decoded(headers["mcp-param-text"]) !== text))
      wrong(`argument ${shown(text)}: its header field became ${shown(own[0].headers["mcp-param-text"])}`);
    if (!["text", "__proto__"].includes(text))
      await calls("echo", { more: { [text]: [text] } }, `key ${shown(text)}`);
  });
  await others(caller, server, texts, counts, wrong);
  if (
    log
      .split("\n")
      .some((line) => /[\u0000-\u0008\u000b-\u001a\u001c-\u001f\u202a-\u202e\u2066-\u2069]/.test(line))
  )
    wrong("a line of the log has a hidden character");
  if (gateway.child.exitCode !== null) wrong("the gateway has ended");
  await gateway.stop();
  server.close();
  return counts;
}

/** Texts as URIs of resources and as names of prompts: as they are or refused, and what is listed can be used. */
async function others(caller, server, texts, counts, wrong) {
  for (const [kind, list, use, key] of [
    ["prompts", "prompts/list", "prompts/get", "name"],
    ["resources", "resources/list", "resources/read", "uri"],
  ]) {
    const { answer: found } = await caller.request(list);
    const listed = new Set((found?.result?.[kind] ?? []).map((item) => item[key]));
    counts[kind] = listed.size;
    if (listed.size < 10) wrong(`hardly any of the ${kind} is listed: ${shown(found?.error)}`);
    for (const text of listed)
      if (!texts.includes(text)) wrong(`one of the ${kind} was renamed to ${shown(text)}`);
    await each(texts, async (text) => {
      const from = server.seen.length;
      const { answer, broken, response } = await caller.request(use, { [key]: text });
      const own = server.seen
        .slice(from)
        .filter(({ message }) => message.method === use && message.params[key] === text);
      const back = answer?.result?.contents?.[0]?.uri ?? answer?.result?.messages?.[0]?.content.text;
      if (back === text && own.length > 0) {
        if (!listed.has(text)) counts.unlisted = (counts.unlisted ?? 0) + 1;
        return;
      }
      if (broken || answer?.error === undefined)
        wrong(`${use} ${shown(text)}: ${broken ?? `${response?.status} ${shown(answer)}`}`);
      else if (listed.has(text)) wrong(`${use} ${shown(text)} is listed, and refused: ${shown(answer.error)}`);
      else if (own.length > 0) wrong(`${use} ${shown(text)} is refused, and has reached the server`);
      else if (![-32602, -32003, -32002, -32020].includes(answer.error.code))
        wrong(`${use} ${shown(text)}: ${shown(answer.error)}`);
    });
  }
}

await main(async () => {
  if (positionals.length !== 1) throw new Stop("the gateway's binary is wanted");
  const logs = options.keep === undefined ? mkdtempSync(join(tmpdir(), "caxton-naughty-")) : resolve(options.keep);
  const texts = strings();
  const found = [];
  for (const stateless of [false, true]) {
    const version = stateless ? "2026-07-28" : "2025-11-25";
    const place = join(logs, version);
    mkdirSync(place, { recursive: true });
    const counts = await through(texts, stateless, place, (text) => found.push(`${version}: ${text}`));
    console.log(
      `${version}: ${texts.length} texts: ${counts.described} as descriptions, ${counts.named} as names of tools, ` +
        `${counts.prompts} of prompts, ${counts.resources} as URIs of resources (${counts.unlisted ?? 0} not listed, and answered), all as arguments`,
    );
    if (counts.described < texts.length / 2 || counts.named < 10)
      found.push(`${version}: hardly any tool is listed`);
  }
  console.log(`${found.length} things wrong`);
  for (const text of found) console.log(`  ${text}`);
  if (options.keep === undefined) rmSync(logs, { recursive: true, force: true });
  return found.length > 0 ? 1 : 0;
});
