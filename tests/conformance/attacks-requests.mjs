// More attacks of `attacks`: by what a URI or a header says, and by what is hidden in a request.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ELICITATION, exactly, shown } from "./attacking.mjs";
import { said } from "./mcp-client.mjs";

const ALL = '@id("all")\npermit (principal, action, resource);\n';
const BASE64 = (text) => `=?base64?${Buffer.from(text).toString("base64")}?=`;

/** What stands in for a URI, and is `file:` for whoever reads it as browsers do (WHATWG: edges stripped, tabs and feeds removed). */
const DISGUISES = [
  "file:///etc/passwd",
  "FILE:///etc/passwd",
  "fIlE:/etc/passwd",
  " file:///etc/passwd",
  "\tfile:///etc/passwd",
  "\nfile:///etc/passwd",
  "\r\nfile:///etc/passwd",
  "fi\tle:///etc/passwd",
  "fi\nle:///etc/passwd",
  "file\r:///etc/passwd",
  "\u0000file:///etc/passwd",
  "\u001ffile:///etc/passwd",
  "file:\\\\etc\\passwd",
  "file:etc/passwd",
  "file://localhost/etc/passwd",
];

/** What a policy on `file:///public/` takes for something there, or for nothing at all, and a server that parses URIs does not. */
const PATHS = [
  "file:///public/../private/x",
  "file:///public/a/../../private/x",
  "file:///public/./../private/x",
  "file:///public/%2e%2e/private/x",
  "file:///public/.%2E/private/x",
  "file:///public/%2E./private/x",
  "file:///public/..\\private\\x",
  "file:///public/\\..\\..\\private\\x",
  "file:///public/.\t./private/x",
  "file:///public/.\n./private/x",
  "file:///public/..",
  "file:///public/x/../../private",
];

/** Header fields of a request of 2026-07-28 that say something else than its body; each gives the fields, or nothing where the request has no name. */
const MISMATCHES = {
  "no method": () => ({ "Mcp-Method": undefined }),
  "another method": (method) => ({ "Mcp-Method": method === "ping" ? "tools/list" : "ping" }),
  "the method in capitals": (method) => ({ "Mcp-Method": method.toUpperCase() }),
  "the method twice": (method) => ({ "Mcp-Method": [method, method] }),
  "two methods": (method) => ({ "Mcp-Method": [method, "tools/list"] }),
  "two methods in one": (method) => ({ "Mcp-Method": `${method}, tools/list` }),
  "an empty method": () => ({ "Mcp-Method": "" }),
  "the method with an end": (method) => ({ "Mcp-Method": `${method}/` }),
  "no version": () => ({ "MCP-Protocol-Version": undefined }),
  "an older version": () => ({ "MCP-Protocol-Version": "2025-11-25" }),
  "two versions": () => ({ "MCP-Protocol-Version": ["2026-07-28", "2025-11-25"] }),
  "no name": (_method, name) => name && { "Mcp-Name": undefined },
  "another name": (_method, name) => name && { "Mcp-Name": "good" },
  "another name in Base64": (_method, name) => name && { "Mcp-Name": BASE64("good") },
  "the name twice": (_method, name) => name && { "Mcp-Name": [name, name] },
  "two names": (_method, name) => name && { "Mcp-Name": [name, "good"] },
  "the name in capitals": (_method, name) => name && { "Mcp-Name": name.toUpperCase() },
  "the name with more behind it": (_method, name) => name && { "Mcp-Name": `${name}x` },
  "the name with a null": (_method, name) => name && { "Mcp-Name": BASE64(`${name}\u0000`) },
  "the name with a space in Base64": (_method, name) => name && { "Mcp-Name": BASE64(`${name} `) },
  "Base64 in Base64": (_method, name) => name && { "Mcp-Name": BASE64(BASE64(name)) },
  "Base64 that is none": (_method, name) => name && { "Mcp-Name": "=?base64?%%%?=" },
  "Base64 with spaces in it": (_method, name) => name && { "Mcp-Name": BASE64(name).replace(/(.{11})/, "$1 ") },
  "a percent-encoded name": (_method, name) =>
    name && { "Mcp-Name": `%${name.charCodeAt(0).toString(16)}${name.slice(1)}` },
  "an empty name": (_method, name) => name && { "Mcp-Name": "" },
};
const MATCHES = {
  "as it is": () => ({}),
  "in other letters": (method, name) => ({
    "Mcp-Method": undefined,
    "mCP-mETHOD": method,
    ...(name && { "Mcp-Name": undefined, "MCP-NAME": name }),
  }),
  "with spaces around": (method, name) => ({
    "Mcp-Method": `  ${method}\t`,
    ...(name && { "Mcp-Name": ` ${name} ` }),
  }),
  "the name in Base64": (_method, name) => name && { "Mcp-Name": BASE64(name) },
};
const METHODS = {
  "tools/call": { name: "act", arguments: { trick: "gives", result: { content: [] } } },
  "tools/list": {},
  "resources/read": { uri: "era://a/1" },
  "prompts/get": { name: "brief" },
  "server/discover": {},
  "subscriptions/listen": { notifications: { toolsListChanged: true } },
};

export const BY_REQUEST = {
  "a scheme in disguise": {
    policy: `${ALL}@id("no")\nforbid (principal, action in [${["resource:read", "resource:subscribe"].map((name) => `Caxton::Action::"${name}"`)}], resource) when { resource.scheme == "file" };\n`,
    async attack({ mallory, server, wrong }) {
      const session = await mallory.open();
      for (const uri of DISGUISES) {
        for (const [how, client] of [
          ["2026-07-28", mallory],
          ["2025-11-25", session],
        ]) {
          const from = server.seen.messages.length;
          const { answer, broken } = await client.request("resources/read", { uri });
          const got = server.seen.messages.slice(from).filter(({ method }) => method === "resources/read");
          const isFile = URL.canParse(uri) && new URL(uri).protocol === "file:";
          if (isFile && got.length > 0)
            wrong(`${how}: ${shown(uri)} has reached the server, though \`file\` is forbidden`);
          if (broken || answer === undefined) wrong(`${how}: ${shown(uri)}: ${broken ?? "no answer"}`);
        }
      }
    },
  },

  "a path in disguise": {
    policy:
      '@id("all")\npermit (principal, action, resource) unless { resource is Caxton::McpResource };\n' +
      '@id("public")\npermit (principal, action == Caxton::Action::"resource:read", resource) when { resource.uri like "file:///public/*" };\n',
    async attack({ mallory, server, wrong }) {
      const right = await mallory.request("resources/read", { uri: "file:///public/x" });
      if (!right.answer?.result) wrong(`what is public cannot be read: ${shown(right)}`);
      for (const uri of PATHS) {
        const from = server.seen.messages.length;
        const { answer, broken } = await mallory.request("resources/read", { uri });
        const got = server.seen.messages.slice(from).filter(({ method }) => method === "resources/read");
        // As the official SDK's server reads it, before it looks for the resource.
        const read = got
          .map(({ params }) => new URL(params.uri).href)
          .filter((href) => !href.startsWith("file:///public/"));
        if (read.length > 0) wrong(`${shown(uri)} has reached the server, which reads ${read}`);
        if (broken || answer === undefined) wrong(`${shown(uri)}: ${broken ?? "no answer"}`);
      }
    },
  },

  "headers against bodies": async ({ mallory, server, wrong, tell }) => {
    let rows = 0;
    const send = (method, params, more) => {
      const name = params.name ?? params.uri;
      const own = { ...mallory.headers({ "Mcp-Method": method, ...(name && { "Mcp-Name": name }) }), ...more };
      const fields = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
      return exactly(mallory.url, fields, JSON.stringify(mallory.message(method, params)));
    };
    for (const [method, params] of Object.entries(METHODS)) {
      const name = params.name ?? params.uri;
      for (const [what, fields] of Object.entries(MISMATCHES)) {
        const more = fields(method, name);
        if (!more) continue;
        rows += 1;
        const from = server.seen.messages.length;
        const { status, answer, text } = await send(method, params, more);
        // A field that is not there at all has a code of its own in no version.
        if (status !== 400 || ![-32020, -32602, -32022].includes(answer?.error?.code))
          wrong(`${method}, ${what}: ${status} ${text.slice(0, 120)}`);
        const got = server.seen.messages.slice(from).filter((message) => message.method === method);
        if (got.length > 0 && method !== "tools/list") wrong(`${method}, ${what}: the server has got it`);
      }
      for (const [what, fields] of Object.entries(MATCHES)) {
        const more = fields(method, name);
        if (!more) continue;
        rows += 1;
        const { status, answer, text } = await send(method, params, more);
        if (status !== 200 || answer?.error) wrong(`${method}, ${what}: ${status} ${text.slice(0, 120)}`);
      }
    }
    // A client of an earlier version need not send them, and what it sends must be right.
    const old = await mallory.open();
    for (const [what, headers, right] of [
      ["without them", {}, true],
      ["the right ones", { "Mcp-Method": "tools/call", "Mcp-Name": "good" }, true],
      ["another method", { "Mcp-Method": "tools/list" }, false],
      ["another name", { "Mcp-Name": "act" }, false],
    ]) {
      rows += 1;
      const { response, answer } = await old.call("good", { text: "x" }, { headers });
      if ((said(answer) === "good: x") !== right)
        wrong(`2025-11-25, ${what}: ${response?.status} ${shown(answer)}`);
    }
    // Arguments that fields repeat.
    const param = (given, fields) => send("tools/call", { name: "hidden", arguments: given }, fields);
    for (const [what, given, fields, right] of [
      ["the right one", { region: "eu" }, { "Mcp-Param-Region": "eu" }, true],
      ["in Base64", { region: "eu" }, { "Mcp-Param-Region": BASE64("eu") }, true],
      ["no argument", {}, {}, true],
      ["null", { region: null }, { "Mcp-Param-Region": "null" }, false],
      ["a field without its argument", {}, { "Mcp-Param-Region": "eu" }, false],
      ["two fields", { region: "eu" }, { "Mcp-Param-Region": ["eu", "eu"] }, false],
      ["another", { region: "eu" }, { "Mcp-Param-Region": "EU" }, false],
      ["missing", { region: "eu" }, {}, false],
    ]) {
      rows += 1;
      const { status, text } = await param(given, fields);
      if ((status === 200) !== right) wrong(`an argument, ${what}: ${status} ${text.slice(0, 120)}`);
    }
    tell(`${rows} rows`);
  },

  "what servers get of a caller's secrets": async ({ mallory, server, gateway, logs, wrong, tell }) => {
    const file = join(logs, "caller.key");
    writeFileSync(file, mallory.key, { mode: 0o600 });
    const url = `http://${gateway.host}:${gateway.port}`;
    const printed = gateway.manage("auth", "token", "--url", url, "--api-key-file", file);
    const token = printed.split(/\s+/).find((word) => word.split(".").length === 3);
    if (token === undefined) return wrong("there is no token");
    const SECRET = (number) => `planted-secret-${number}`;
    const protocol = (key) => `io.modelcontextprotocol/${key}`;
    const planted = {
      Cookie: `session=${SECRET(1)}`,
      "Proxy-Authorization": `Basic ${SECRET(2)}`,
      "X-Forwarded-For": SECRET(3),
      Forwarded: `for=${SECRET(4)}`,
      "X-Auth-Request-Access-Token": SECRET(5),
      "X-Amzn-Oidc-Data": SECRET(6),
      Referer: `http://localhost/?code=${SECRET(7)}`,
      "User-Agent": SECRET(8),
      "Last-Event-ID": SECRET(9),
      "X-Real-IP": SECRET(10),
      From: SECRET(11),
    };
    const session = await mallory.open(ELICITATION);
    const query = `?access_token=${token}&api_key=${mallory.key}&x=${SECRET(12)}`;
    const _meta = {
      [protocol("authorization")]: SECRET(13),
      [protocol("clientInfo")]: { name: SECRET(14), version: "1" },
    };
    const ways = [
      ["a token", mallory, { Authorization: `Bearer ${token}`, "X-API-Key": undefined }],
      ["a key", mallory, {}],
      ["a session", session, {}],
      ["a token in a session", session, { Authorization: `Bearer ${token}`, "X-API-Key": undefined }],
    ];
    const methods = {
      "tools/call": { name: "good", arguments: { text: "here" } },
      "prompts/get": { name: "brief", arguments: {} },
      "resources/read": { uri: "era://a/1" },
      "tools/list": {},
      "prompts/list": {},
      "resources/subscribe": { uri: "era://a/1" },
      "logging/setLevel": { level: "info" },
      "subscriptions/listen": { notifications: { resourceSubscriptions: ["era://a/1"], toolsListChanged: true } },
    };
    let sent = 0;
    let accepted = 0;
    for (const [, client, fields] of ways) {
      for (const [method, params] of Object.entries(methods)) {
        const name = params.name ?? params.uri;
        const message = client.message(method, { ...params, _meta });
        const headers = {
          ...client.headers({ "Mcp-Method": method, ...(name && { "Mcp-Name": name }) }),
          ...planted,
          ...fields,
        };
        const clean = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined));
        for (const way of ["", query]) {
          const { status } = await exactly(`${client.url}${way}`, clean, JSON.stringify(message)).catch(() => ({
            status: 0,
          }));
          sent += 1;
          accepted += status === 200 ? 1 : 0;
        }
      }
    }
    await sleep(500);
    const wire = Buffer.concat(server.seen.bytes).toString("latin1");
    if (!wire.includes('"text":"here"')) wrong("no call has reached the server");
    tell(`${accepted} of ${sent} requests were carried out, ${wire.length} bytes reached the server`);
    const secrets = {
      key: mallory.key,
      token,
      "the token's signature": token.split(".")[2],
      session: session.session,
    };
    for (let number = 1; number <= 14; number += 1) secrets[SECRET(number)] = SECRET(number);
    for (const [what, secret] of Object.entries(secrets)) {
      const at = wire.search(new RegExp(`${secret}(?!\\d)`));
      if (at >= 0) wrong(`${what} has reached the server: …${wire.slice(Math.max(0, at - 60), at + 20)}…`);
    }
    if (/access_token|api_key=/.test(wire)) wrong("the query has reached the server");
    return undefined;
  },
};
