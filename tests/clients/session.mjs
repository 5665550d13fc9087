// A whole session with an MCP server, driven step by step, with one of three generations of the official SDK.
//
// stdin:  {"url": …, "headers": {…}, "sdk": "newest" | "2025" | "2026", "sampling": text, "elicitation": {…},
//          "roots": […], "steps": [{"do": …}]}
// stdout: a line of JSON a step, {"do", "ok": true, "result"} or {"do", "ok": false, "error"}, the first for connecting.
//
// Steps are those of session.py: `tools`, `call` {name, arguments, progress, cancel_after (ms)}, `prompts`,
// `prompt` {name, arguments}, `resources`, `templates`, `read` {uri}, `subscribe` {uri}, `unsubscribe` {uri},
// `wait` {for: a notification's method, seconds}, `pause` {seconds}, `complete` {ref, argument}, `log-level` {level},
// `ping`, and as the last one `end`, which ends the session at the server, too.
// Beside its result a line has `asked`: what the server asked of this client, `progress`: what was told on the way, and
// `http`: refusals of the transport. Texts of more than 200 letters are told by length and digest.

import { createHash } from "node:crypto";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";

// `newest` is the first generation's last; `2026` speaks 2026-07-28.
const PACKAGES = { newest: "@modelcontextprotocol/sdk", 2025: "sdk-2025", 2026: "@modelcontextprotocol/client" };

// A busy machine is not what is tested.
const LIMIT = { timeout: 180_000, cacheMode: "bypass" };
const MANY = 1000;

const plan = JSON.parse(await text(process.stdin));
const modern = plan.sdk === "2026";

/** The parts of the SDK that differ from one generation to the other. */
async function sdk() {
  const name = PACKAGES[plan.sdk];
  if (name === undefined) throw new Error(`no such SDK: ${plan.sdk}`);
  if (modern) {
    const { Client, StreamableHTTPClientTransport } = await import(name);
    return {
      Client,
      Transport: StreamableHTTPClientTransport,
      schemas: {},
      options: { versionNegotiation: { mode: "auto" } },
    };
  }
  const { Client } = await import(`${name}/client/index.js`);
  const { StreamableHTTPClientTransport } = await import(`${name}/client/streamableHttp.js`);
  const types = await import(`${name}/types.js`);
  const schemas = {
    "sampling/createMessage": types.CreateMessageRequestSchema,
    "elicitation/create": types.ElicitRequestSchema,
    "roots/list": types.ListRootsRequestSchema,
  };
  return { Client, Transport: StreamableHTTPClientTransport, schemas, options: {} };
}

/** What came during a step: questions of the server, progress, refusals of the transport. */
let during;
const fresh = () => (during = { asked: [], progress: [], http: [] });
fresh();

/** Notifications that no step has waited for yet. */
const notifications = [];
let wake = () => {};

async function watched(...request) {
  const response = await fetch(...request);
  // Without a stream of its own a server answers 405 to a GET.
  if (response.status >= 400 && request[1]?.method !== "GET") during.http.push(response.status);
  return response;
}

const { Client, Transport, schemas, options } = await sdk();
const transport = new Transport(new URL(plan.url), {
  requestInit: { headers: plan.headers ?? {} },
  fetch: watched,
});
const answers = {
  ...(plan.sampling !== undefined && {
    "sampling/createMessage": () => ({
      role: "assistant",
      content: { type: "text", text: plan.sampling },
      model: "none",
      stopReason: "endTurn",
    }),
  }),
  ...(plan.elicitation !== undefined && { "elicitation/create": () => plan.elicitation }),
  ...(plan.roots !== undefined && { "roots/list": () => ({ roots: plan.roots }) }),
};
const capabilities = {
  ...(plan.sampling !== undefined && { sampling: {} }),
  ...(plan.elicitation !== undefined && { elicitation: {} }),
  ...(plan.roots !== undefined && { roots: {} }),
};
const client = new Client({ name: "caxton-test", version: "0.0.0" }, { capabilities, ...options });
for (const [method, answer] of Object.entries(answers)) {
  client.setRequestHandler(schemas[method] ?? method, async ({ params }) => {
    during.asked.push({ method, params: params ?? {} });
    return answer();
  });
}
client.fallbackNotificationHandler = async ({ method, params }) => {
  notifications.push({ method, params: params ?? {} });
  wake();
};

class Cancelled extends Error {}

/** All pages of a list. */
async function pages(list, key) {
  const found = [];
  let cursor;
  for (let page = 0; page < MANY; page += 1) {
    const answer = await list({ cursor }, LIMIT);
    found.push(...answer[key]);
    cursor = answer.nextCursor;
    if (cursor === undefined) return found;
  }
  throw new Error("the list does not end");
}

async function call({ name, arguments: given, progress, cancel_after: patience }) {
  const stop = new AbortController();
  const late = patience === undefined ? undefined : setTimeout(() => stop.abort(), patience);
  const how = {
    ...LIMIT,
    signal: stop.signal,
    ...(progress && { onprogress: (told) => during.progress.push(told) }),
  };
  try {
    const asked = { name, arguments: given };
    return await (modern ? client.callTool(asked, how) : client.callTool(asked, undefined, how));
  } catch (error) {
    // Each generation has another error for it.
    throw stop.signal.aborted ? new Cancelled("cancelled by the test") : error;
  } finally {
    clearTimeout(late);
  }
}

async function wait({ for: method, seconds = 10 }) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const at = notifications.findIndex((each) => each.method === method);
    if (at >= 0) return notifications.splice(at, 1)[0].params;
    const left = end - Date.now();
    if (left <= 0) throw new Error(`no ${method} came`);
    await new Promise((goOn) => {
      wake = goOn;
      setTimeout(goOn, left);
    });
  }
}

const listening = new Map();

const STEPS = {
  tools: () => pages(client.listTools.bind(client), "tools"),
  call,
  prompts: () => pages(client.listPrompts.bind(client), "prompts"),
  prompt: ({ name, arguments: given }) => client.getPrompt({ name, arguments: given }, LIMIT),
  resources: () => pages(client.listResources.bind(client), "resources"),
  templates: () => pages(client.listResourceTemplates.bind(client), "resourceTemplates"),
  read: ({ uri }) => client.readResource({ uri }, LIMIT),
  async subscribe({ uri }) {
    if (client.getProtocolEra?.() !== "modern") return client.subscribeResource({ uri }, LIMIT);
    const filter = { resourceSubscriptions: [uri], toolsListChanged: true, promptsListChanged: true };
    const open = await client.listen(filter, LIMIT);
    listening.set(uri, open);
    return open.honoredFilter;
  },
  async unsubscribe({ uri }) {
    if (!listening.has(uri)) return client.unsubscribeResource({ uri }, LIMIT);
    await listening.get(uri).close();
    listening.delete(uri);
    return {};
  },
  wait,
  async pause({ seconds }) {
    await sleep(seconds * 1000);
    return {};
  },
  complete: ({ ref, argument }) => client.complete({ ref, argument }, LIMIT),
  "log-level": ({ level }) => client.setLoggingLevel(level, LIMIT),
  ping: () => client.ping(LIMIT),
  async end() {
    await transport.terminateSession();
    return {};
  },
};

function brief(value) {
  if (typeof value === "string" && value.length > 200) {
    return { letters: value.length, sha256: createHash("sha256").update(value).digest("hex") };
  }
  if (Array.isArray(value)) return value.map(brief);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, brief(inner)]));
}

function told(error) {
  if (!(error instanceof Error)) return { message: String(error) };
  return { name: error.constructor.name, code: error.code, message: error.message, data: error.data };
}

/** Carries a step out, and says how it went. */
async function step(name, work) {
  fresh();
  let line;
  try {
    line = { do: name, ok: true, result: (await work()) ?? {} };
  } catch (error) {
    line = { do: name, ok: false, error: told(error) };
  }
  for (const [key, found] of Object.entries(during)) if (found.length > 0) line[key] = found;
  process.stdout.write(`${JSON.stringify(brief(line))}\n`);
  return line.ok;
}

const connected = await step("connect", async () => {
  await client.connect(transport, LIMIT);
  return {
    protocol: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion,
    server: client.getServerVersion(),
    capabilities: client.getServerCapabilities(),
    instructions: client.getInstructions(),
    session: transport.sessionId !== undefined,
  };
});
if (connected) {
  for (const each of plan.steps) {
    await step(each.do, () => {
      if (!Object.hasOwn(STEPS, each.do)) throw new Error(`no such step: ${each.do}`);
      return STEPS[each.do](each);
    });
  }
  await client.close();
}
// A stream that is still open does not hold the process.
process.exit(0);
