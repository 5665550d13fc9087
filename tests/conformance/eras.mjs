// The work of `eras`.

import { mkdirSync, mkdtempSync, openSync, readSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { PROMPTS, RESOURCES, SKILLS, TEMPLATES, TEXTS, TOOLS, startServer } from "./eras-server.mjs";
import { Client } from "./mcp-client.mjs";
import { Stop, main, startCaxton } from "./processes.mjs";
import { policies } from "./random-policies.mjs";

const SERVER = "era";
const PATH = `/servers/${SERVER}/mcp`;
const AT_ONCE = 8;
const MOST_SHOWN = 12;
/** Callers by name, with the words that their keys have. */
const CALLERS = {
  ada: "tool:call",
  bob: "resource:read,prompt:get,skill:get",
  eve: "tool:call,resource:read,app:read",
};
/** So that policies can be loaded whatever the random ones say. */
const LOADER =
  '@id("era.loader")\npermit (principal == Caxton::Service::"loader", action in Caxton::Action::"policy:*", resource);\n';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    policies: { type: "string", default: "30" },
    seed: { type: "string", default: "1" },
    server: { type: "string", multiple: true },
    keep: { type: "string" },
  },
});

// ---- what is asked ----

const call = (name, text) => ({
  kind: "tools",
  item: name,
  method: "tools/call",
  params: { name, arguments: { text } },
});
const read = (kind, item, uri) => ({ kind, item, method: "resources/read", params: { uri } });
const instance = (template) => template.replace("{id}", "7");
const LISTS = {
  tools: ["tools/list", ({ name }) => name],
  prompts: ["prompts/list", ({ name }) => name],
  resources: ["resources/list", ({ uri }) => uri],
  resourceTemplates: ["resources/templates/list", ({ uriTemplate }) => uriTemplate],
  skills: ["skills/list", ({ uri }) => uri],
};
const USES = [
  ...TOOLS.filter(({ name }) => name !== "ask").flatMap(({ name }) => TEXTS.map((text) => call(name, text))),
  ...PROMPTS.map(({ name }) => ({ kind: "prompts", item: name, method: "prompts/get", params: { name } })),
  ...RESOURCES.map(({ uri }) => read("resources", uri, uri)),
  ...TEMPLATES.map(({ uriTemplate }) => read("resourceTemplates", uriTemplate, instance(uriTemplate))),
  ...SKILLS.map(({ uri }) => ({ kind: "skills", item: uri, method: "skills/get", params: { uri } })),
];
const REQUESTS = [
  ...Object.entries(LISTS).map(([kind, [method]]) => ({ kind, method, params: {} })),
  ...USES,
  ...TEXTS.map((text) => ({ ...call("ask", text), asks: true })),
  ...PROMPTS.slice(0, 2).map(({ name }) => ({
    method: "completion/complete",
    params: { ref: { type: "ref/prompt", name }, argument: { name: "x", value: "" } },
  })),
  ...TEMPLATES.slice(0, 2).map(({ uriTemplate: uri }) => ({
    method: "completion/complete",
    params: { ref: { type: "ref/resource", uri }, argument: { name: "id", value: "" } },
  })),
  ...RESOURCES.map(({ uri }) => ({ method: "subscribe", params: { uri } })),
];
const shown = ({ method, params: { name, uri, ref, arguments: given } }) =>
  [method, name ?? uri ?? ref?.name ?? ref?.uri, given?.text].filter(Boolean).join(" ");

// ---- the ways to ask ----

const accept = () => ({ result: { action: "accept", content: {} } });
const succeeded = ({ answer }) => answer?.result !== undefined && !answer.result.isError;
/** What a caller must never get: an answer that is none, or a mistake of the gateway. */
const broken = ({ answer, broken: why }) => why ?? (answer === undefined ? "no answer" : undefined);

async function subscribe(client, uri, headers) {
  if (client.version) {
    const asked = await client.request("resources/subscribe", { uri }, { headers });
    if (succeeded(asked)) await client.request("resources/unsubscribe", { uri });
    return asked;
  }
  const end = new AbortController();
  const message = client.message("subscriptions/listen", { notifications: { resourceSubscriptions: [uri] } });
  const response = await client.post(message, {
    headers: { ...headers, "Mcp-Method": "subscriptions/listen" },
    signal: end.signal,
  });
  const reader = response.body.getReader();
  const text = Buffer.from((await reader.read()).value ?? []).toString("utf8");
  end.abort();
  const value = JSON.parse(/^data: (\{.*\})$/m.exec(text)?.[1] ?? text);
  const honoured = value.params?.notifications?.resourceSubscriptions?.includes(uri);
  return { answer: honoured ? { result: {} } : { error: value.error ?? {} } };
}

/** Goes on to the server in `_meta`, and says which request it was. */
const MARK = "eras/request";

/** One request to its end, rounds included. */
async function ask(client, { method, params: given, asks }, id) {
  const headers = { "X-Request-Id": id };
  if (method === "subscribe") return subscribe(client, given.uri, headers);
  const params = { ...given, _meta: { [MARK]: id } };
  const first = await client.request(method, params, { headers, reply: accept });
  const { resultType, inputRequests, requestState } = first.answer?.result ?? {};
  if (!asks || resultType !== "input_required") return first;
  const inputResponses = Object.fromEntries(Object.keys(inputRequests).map((key) => [key, accept().result]));
  return client.request(method, { ...params, inputResponses, requestState }, { headers });
}

/** The schemes by which clients know apps and skills stay in front. */
const KEPT_SCHEME = /^(ui:\/\/|skill:\/\/)?/;

/** A client at the address of all servers, where each name has its server before it. */
function atAll(request) {
  const { name, uri, ref } = request.params;
  const named = {
    ...(name && { name: `${SERVER}___${name}` }),
    ...(uri && { uri: uri.replace(KEPT_SCHEME, `$1${SERVER}+`) }),
    ...(ref && {
      ref: ref.name ? { ...ref, name: `${SERVER}___${ref.name}` } : { ...ref, uri: `${SERVER}+${ref.uri}` },
    }),
  };
  return { ...request, params: { ...request.params, ...named } };
}

/** The clients of one caller. The first is what the others are compared with. */
async function waysOf(gateway, key) {
  const plain = new Client(gateway, key, PATH);
  const sessionless = Object.assign(new Client(gateway, key, PATH), { version: "2025-11-25" });
  const all = await new Client(gateway, key, "/mcp").open({ elicitation: {} });
  return [
    { name: "2026-07-28", client: plain, to: (request) => request },
    { name: "2025-11-25", client: await plain.open({ elicitation: {} }), to: (request) => request },
    { name: "2025-11-25 without a session", client: sessionless, to: (request) => request, cannot: ["subscribe"] },
    { name: "2025-11-25 at /mcp", client: all, to: atAll, all: true },
    { name: "2026-07-28 at /mcp", client: new Client(gateway, key, "/mcp"), to: atAll, all: true },
  ];
}

// ---- what was decided ----

/** Reads the lines of the decision log that came since it was last read. */
class Log {
  #from;
  #file;

  constructor(gateway) {
    this.#file = join(gateway.home, "data/audit.log");
    this.#from = statSync(this.#file).size;
  }

  /** Records by the request's id. */
  read() {
    const size = statSync(this.#file).size;
    const bytes = Buffer.alloc(size - this.#from);
    readSync(openSync(this.#file), bytes, 0, bytes.length, this.#from);
    this.#from = size;
    const found = new Map();
    for (const line of bytes.toString("utf8").split("\n").filter(Boolean)) {
      const record = JSON.parse(line);
      const own = found.get(record.request_id) ?? [];
      found.set(record.request_id, [...own, record]);
    }
    return found;
  }
}

const OF_SERVER = new RegExp(`"${SERVER}"|"${SERVER}___`);
const brief = ({ action, resource, outcome, reason_code, policies: used, errors }) => ({
  action,
  resource,
  outcome,
  reason_code,
  policies: (used ?? []).map(({ id, effect, mode }) => `${effect} ${id} ${mode}`).sort(),
  errors,
});

/** The actions that use something: with one of them allowed, the request goes on to the server. */
const isUse = ({ action, outcome }) => outcome === "allow" && !/:list$|^elicitation:/.test(action);

/** A server that got what was not allowed, or did not get what was. */
function gotOtherwise(got, runs, log) {
  const found = [];
  const marks = new Set(got.map(({ params }) => params?._meta?.[MARK]));
  for (const { way, answers } of runs)
    for (const [at, request] of REQUESTS.entries()) {
      if (answers[at] === undefined || request.method === "subscribe" || request.method.endsWith("/list"))
        continue;
      const { id } = answers[at];
      const allowed = (log.get(id) ?? []).some(isUse);
      if (marks.has(id) !== allowed)
        found.push(
          `${shown(request)}: ${way.name}: ${allowed ? "allowed, and the server has not got it" : "the server has got it, and it was not allowed"}`,
        );
    }
  return found;
}

/** What records say, as text: in order, each once, and of a list only the items of this server. */
function decided(records = []) {
  const texts = records.map((record) => {
    const items = (record.items ?? []).filter(({ resource }) => OF_SERVER.test(resource));
    const inner = items.map((item) => JSON.stringify(brief(item))).sort();
    return JSON.stringify({ ...brief(record), items: inner });
  });
  return [...new Set(texts)].sort();
}

// ---- the properties ----

async function each(items, work) {
  const left = [...items.entries()];
  const worker = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await work(next[1], next[0]);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** All requests of one caller in one way: `{ answers, records }` later. */
async function asked(seed, who, way, number) {
  const answers = [];
  await each(REQUESTS, async (request, at) => {
    if (way.cannot?.includes(request.method)) return;
    const id = `s${seed}-${who}-${number}-${at}`;
    answers[at] = { id, ...(await ask(way.client, way.to(request), id)) };
  });
  return answers;
}

/** Where what is listed is not what can be used. `loose` counts tools that are listed and take none of the texts. */
function unequal(answers, way, counts) {
  const found = [];
  for (const [kind, [method, name]] of Object.entries(LISTS)) {
    const list = answers[REQUESTS.findIndex((request) => request.method === method)];
    if (!succeeded(list)) {
      counts.refused += 1;
      continue;
    }
    const listed = new Set(list.answer.result[kind].map((item) => name(item).replace(/^(ui:\/\/|skill:\/\/)?era(___|\+)/, "$1")));
    const used = new Map();
    for (const [at, request] of REQUESTS.entries())
      if (request.kind === kind && request.item && !request.asks)
        used.set(request.item, (used.get(request.item) ?? false) || succeeded(answers[at]));
    for (const [item, works] of used) {
      counts.items += 1;
      if (works && !listed.has(item)) found.push(`${way}: ${kind} ${item} is not listed, and works`);
      if (!works && listed.has(item)) {
        // Another text may be permitted.
        if (kind === "tools") counts.loose += 1;
        else found.push(`${way}: ${kind} ${item} is listed, and does not work`);
      }
    }
  }
  return found;
}

/** Where a request was decided otherwise, or came out otherwise, than in the first way. */
function different(runs, log, skip) {
  const found = [];
  const [first, ...others] = runs;
  for (const [at, request] of REQUESTS.entries()) {
    const records = ({ id }) => log.get(id) ?? [];
    const here = decided(records(first.answers[at]));
    if (here.length === 0) found.push(`${shown(request)}: ${first.way.name}: there is no record`);
    for (const { way, answers } of runs) {
      const why = answers[at] && broken(answers[at]);
      if (why) found.push(`${shown(request)}: ${way.name}: ${why}`);
    }
    for (const { way, answers } of others) {
      if (answers[at] === undefined || skip(way, request)) continue;
      const there = decided(records(answers[at]));
      const what = `${shown(request)}: ${first.way.name} and ${way.name}`;
      if (JSON.stringify(here) !== JSON.stringify(there)) found.push(`${what}: ${here}   |   ${there}`);
      else if (succeeded(first.answers[at]) !== succeeded(answers[at]))
        found.push(
          `${what}: ${JSON.stringify(first.answers[at].answer)}   |   ${JSON.stringify(answers[at].answer)}`,
        );
    }
  }
  return found;
}

async function reload(gateway, text) {
  writeFileSync(join(gateway.home, "policies/all.cedar"), text);
  const response = await fetch(`http://${gateway.host}:${gateway.port}/v1/policies/reload`, {
    method: "POST",
    headers: { "X-API-Key": gateway.keys.loader },
  });
  if (!response.ok) throw new Stop(`the policies are refused: ${await response.text()}\n${text}`);
  await response.text();
}

async function against(generation, logs, counts) {
  mkdirSync(logs, { recursive: true });
  const server = await startServer(generation === "stateless");
  const upstream = {
    server: SERVER,
    port: server.port,
    keys: { loader: "policy:publish", ...CALLERS },
    approved: true,
    policy: LOADER,
  };
  const gateway = await startCaxton(resolve(positionals[0]), upstream, logs);
  const ways = {};
  for (const who of Object.keys(CALLERS)) ways[who] = await waysOf(gateway, gateway.keys[who]);
  const log = new Log(gateway);
  // A server of the older generation cannot ask a client of the newer one, nor one that has no session.
  const skip = (way, { asks }) => asks && (generation === "stateful" || way.name.includes("without"));
  const found = [];
  const from = Number(options.seed);
  for (let seed = from; seed < from + Number(options.policies); seed += 1) {
    await reload(gateway, `${LOADER}\n${policies(seed, SERVER)}`);
    server.got.length = 0;
    const runs = {};
    for (const [who, own] of Object.entries(ways)) {
      runs[who] = [];
      for (const [number, way] of own.entries())
        runs[who].push({ way, answers: await asked(seed, who, way, number) });
    }
    const records = log.read();
    for (const [who, own] of Object.entries(runs)) {
      const wrong = own.flatMap(({ way, answers }) => unequal(answers, way.name, counts));
      wrong.push(...different(own, records, skip), ...gotOtherwise(server.got, own, records));
      found.push(...wrong.map((text) => `seed ${seed}, ${who}: ${text}`));
    }
    counts.requests += REQUESTS.length * Object.values(ways).flat().length;
    for (const all of records.values())
      for (const { outcome } of all) counts.outcomes[outcome] = (counts.outcomes[outcome] ?? 0) + 1;
  }
  if (gateway.child.exitCode !== null) found.push("the gateway has ended");
  await gateway.stop();
  return found;
}

await main(async () => {
  if (positionals.length !== 1) throw new Stop("the gateway's binary is wanted");
  const root = options.keep === undefined ? mkdtempSync(join(tmpdir(), "caxton-eras-")) : resolve(options.keep);
  let wrong = 0;
  for (const generation of options.server ?? ["stateless", "stateful"]) {
    const counts = { requests: 0, items: 0, loose: 0, refused: 0, outcomes: {} };
    const found = await against(generation, join(root, generation), counts);
    console.log(
      `${generation} server: ${options.policies} policy sets, ${counts.requests} requests; records: ${JSON.stringify(counts.outcomes)}; ` +
        `${counts.items} items held to their lists (${counts.loose} tools listed that take none of ${TEXTS.length} texts; ${counts.refused} lists refused); ${found.length} things wrong`,
    );
    for (const text of found.slice(0, MOST_SHOWN)) console.log(`  ${text.slice(0, 1_200)}`);
    wrong += found.length;
  }
  if (options.keep === undefined) rmSync(root, { recursive: true, force: true });
  return wrong > 0 ? 1 : 0;
});
