// What a page of an origin in `mcp.allowed_origins` can do: `[name, what it shows, work]`.

import assert from "node:assert/strict";
import { NEW, OLD, preflighted, words } from "./world.mjs";

const INITIALIZE = { protocolVersion: OLD, capabilities: {}, clientInfo: { name: "page", version: "0.0.0" } };

/** The names that a preflight asks for. */
const asked = ({ headers }) => headers["access-control-request-headers"].split(",").map((name) => name.trim());

async function preflight(world) {
  const page = await world.freshPage();
  const { value, records } = await world.effects(() =>
    page.page("ask", world.mcp, world.call("echo", { text: "first" })),
  );
  assert.equal(value.status, 200, JSON.stringify(value));
  assert.equal(words(value.text), "first");
  const sent = preflighted(await page.taken(world.mcp));
  assert.equal(sent.preflight.length, 1, sent.shown);
  const [{ headers, status }] = sent.preflight;
  assert.equal(status, 204);
  assert.deepEqual(asked(sent.preflight[0]), ["authorization", "content-type", "mcp-protocol-version"]);
  for (const secret of ["authorization", "cookie", "x-api-key"])
    assert.ok(!(secret in headers), `it has ${secret}`);
  assert.equal(sent.requests[0].headers.authorization, world.bearer.Authorization);
  // The call's own, and none of the preflight.
  assert.equal(records.length, 1, JSON.stringify(records));
}

async function kept(world) {
  const page = await world.page();
  await page.page("ask", world.mcp, world.call("echo", { text: "before" }));
  page.forget();
  await page.page("ask", world.mcp, world.call("echo", { text: "after" }));
  const sent = preflighted(await page.taken(world.mcp));
  assert.deepEqual([sent.preflight.length, sent.requests.length], [0, 1]);
}

/** Opens a session; its header field. */
async function open(world, page) {
  const opened = await page.page(
    "ask",
    world.mcp,
    world.post(world.message("initialize", INITIALIZE), world.bearer),
  );
  assert.equal(opened.status, 200, JSON.stringify(opened));
  assert.equal(JSON.parse(opened.text).result.protocolVersion, OLD);
  const id = opened.headers["mcp-session-id"];
  assert.ok(id, `the page cannot read Mcp-Session-Id: ${JSON.stringify(opened.headers)}`);
  const session = { ...world.bearer, "Mcp-Session-Id": id, "MCP-Protocol-Version": OLD };
  const note = { jsonrpc: "2.0", method: "notifications/initialized" };
  const noted = await page.page("ask", world.mcp, world.post(note, session));
  assert.equal(noted.status, 202, JSON.stringify(noted));
  return session;
}

async function session(world) {
  const page = await world.page();
  const held = await open(world, page);
  const listed = await page.page("ask", world.mcp, world.post(world.message("tools/list"), held));
  const names = JSON.parse(listed.text).result.tools.map(({ name }) => name);
  assert.ok(names.includes(world.tool("echo")), listed.text);
  const { value, calls } = await world.effects(() =>
    page.page("ask", world.mcp, world.call("echo", { text: "in a session" }, held)),
  );
  assert.equal(words(value.text), "in a session");
  assert.equal(calls.length, 1);
  assert.ok(value.headers["x-request-id"], "the page cannot read X-Request-Id");
  assert.ok(
    !("authorization" in calls[0].headers) && !("origin" in calls[0].headers),
    JSON.stringify(calls[0].headers),
  );
}

async function listen(world) {
  const page = await world.page();
  const held = await open(world, page);
  const how = { method: "GET", headers: { ...held, Accept: "text/event-stream" } };
  const opened = await page.page("opened", world.mcp, how);
  assert.deepEqual(opened, { status: 200, kind: "text/event-stream" });
}

async function end(world) {
  const page = await world.page();
  const held = await open(world, page);
  const ended = await page.page("ask", world.mcp, { method: "DELETE", headers: held });
  assert.ok(ended.status >= 200 && ended.status < 300, JSON.stringify(ended));
  const after = await page.page("ask", world.mcp, world.post(world.message("tools/list"), held));
  assert.equal(after.status, 404, JSON.stringify(after));
}

/** The answer of `steps` comes only after the page has heard its progress. */
async function streamed(world, how) {
  const page = await world.page();
  const body = JSON.parse(how.body);
  body.params._meta = { ...body.params._meta, progressToken: "page" };
  const seen = await page.page("stream", world.mcp, { ...how, body: JSON.stringify(body) });
  assert.equal(seen.kind, "text/event-stream", JSON.stringify(seen));
  const [progress, answer] = seen.messages;
  assert.equal(progress.method, "notifications/progress");
  assert.equal(progress.params.progressToken, "page");
  assert.equal(answer.result.content[0].text, "heard");
}

async function stateless(world) {
  // In a browser without a kept preflight: the answer to the first one allows these fields, too.
  const page = await world.freshPage();
  const seen = await page.page("ask", world.mcp, world.alone("echo", { text: "alone" }));
  assert.equal(seen.status, 200, JSON.stringify(seen));
  assert.equal(words(seen.text), "alone");
  const sent = preflighted(await page.taken(world.mcp));
  assert.equal(sent.preflight.length, 1, sent.shown);
  for (const name of ["mcp-method", "mcp-name", "mcp-protocol-version"])
    assert.ok(asked(sent.preflight[0]).includes(name), `the preflight did not ask for ${name}`);
}

async function param(world) {
  const page = await world.freshPage();
  const seen = await page.page(
    "ask",
    world.mcp,
    world.alone("weather", { region: "Bern" }, { "Mcp-Param-Region": "Bern" }),
  );
  assert.equal(seen.status, 200, JSON.stringify(seen));
  assert.equal(words(seen.text), "Bern");
  const [first] = preflighted(await page.taken(world.mcp)).preflight;
  assert.ok(asked(first).includes("mcp-param-region"), JSON.stringify(first));
}

async function mismatch(world) {
  const page = await world.page();
  const how = world.alone("echo", { text: "x" }, { "Mcp-Name": world.tool("weather") });
  const seen = await world.nothing(() => page.page("ask", world.mcp, how));
  assert.equal(seen.status, 400, JSON.stringify(seen));
  assert.equal(JSON.parse(seen.text).error.code, -32020);
}

/** A 401 that the page can read, with the way to its credentials. */
async function unproven(world, headers) {
  const page = await world.page();
  const seen = await world.nothing(() => page.page("ask", world.mcp, world.call("echo", { text: "x" }, headers)));
  assert.equal(seen.status, 401, JSON.stringify(seen));
  const challenge = seen.headers["www-authenticate"];
  assert.ok(challenge, `the page cannot read WWW-Authenticate: ${JSON.stringify(seen.headers)}`);
  const [, metadata] = /resource_metadata="([^"]+)"/.exec(challenge) ?? [];
  assert.ok(metadata, challenge);
  return new URL(metadata).pathname;
}

async function metadata(world) {
  const page = await world.page();
  const path = await unproven(world, {});
  const seen = await page.page("ask", `${world.api}${path}`, {});
  assert.equal(seen.status, 200, JSON.stringify(seen));
  assert.match(JSON.parse(seen.text).resource, /\/mcp$/);
}

async function api(world) {
  const page = await world.page();
  const seen = await page.page("ask", `${world.api}/v1/tools`, {
    headers: { "X-API-Key": world.gateway.keys.page },
  });
  assert.equal(seen.status, 200, JSON.stringify(seen));
  assert.ok(seen.text.includes("echo"), seen.text.slice(0, 200));
}

async function unknownField(world) {
  const page = await world.page();
  const how = world.call("echo", { text: "x" }, { ...world.bearer, "X-Something": "1" });
  const seen = await world.nothing(() => page.page("ask", world.mcp, how));
  assert.match(seen.thrown, /^TypeError/);
  const sent = preflighted(await page.taken(world.mcp));
  assert.equal(sent.requests[0].failed, "HeaderDisallowedByPreflightResponse", sent.shown);
}

async function cookies(world) {
  const page = await world.page();
  // Cookies have no port: that of the page is the gateway's, too.
  await page.run('document.cookie = "secret=1"');
  const how = { ...world.call("echo", { text: "x" }), credentials: "include" };
  const seen = await world.nothing(() => page.page("ask", world.mcp, how));
  assert.match(seen.thrown, /^TypeError/);
  const sent = preflighted(await page.taken(world.mcp));
  assert.equal(sent.requests[0].failed, "PreflightInvalidAllowCredentials", sent.shown);
  const plain = await page.page("ask", world.mcp, world.call("echo", { text: "without" }));
  assert.equal(words(plain.text), "without");
  const [request] = preflighted(await page.taken(world.mcp)).requests;
  assert.ok(!("cookie" in request.headers), "a cookie was sent");
}

/** A session of an official client. */
async function client(world, modern) {
  const page = await world.page();
  const seen = await page.page("session", modern, world.mcp, world.bearer, world.tools);
  assert.equal(seen.thrown, undefined);
  assert.ok(seen.tools.includes(world.tool("echo")), JSON.stringify(seen));
  assert.deepEqual(
    { ...seen, tools: [] },
    {
      protocol: modern ? NEW : OLD,
      session: !modern,
      tools: [],
      echoed: "from a page",
      stepped: "heard",
      progress: [1],
    },
  );
}

const WRONG_KEY = { "X-API-Key": `cax_live_${"0".repeat(43)}` };

export const ALLOWED = [
  ["preflight", "the preflight has no credentials, is answered with 204, and is no decision", preflight],
  ["preflight-kept", "a second call is sent without another preflight", kept],
  ["session", "initialize, Mcp-Session-Id, tools/list, tools/call", session],
  ["session-stream", "GET opens the session's stream", listen],
  ["session-end", "DELETE ends the session, and the 404 after it can be read", end],
  [
    "answer-stream",
    "progress is heard before the answer",
    (world) => streamed(world, world.call("steps", { text: "x" })),
  ],
  ["stateless", "2026-07-28: Mcp-Method, Mcp-Name and MCP-Protocol-Version pass the preflight", stateless],
  ["stateless-stream", "the same with progress", (world) => streamed(world, world.alone("steps", { text: "x" }))],
  ["stateless-param", "Mcp-Param-Region passes the preflight", param],
  ["stateless-mismatch", "the page can read why header and body may not differ", mismatch],
  ["wrong-key", "the page can read the 401 and WWW-Authenticate", (world) => unproven(world, WRONG_KEY)],
  ["no-key", "the same without credentials, and the metadata that it leads to", metadata],
  ["api", "the HTTP API is open to the page, too", api],
  ["unknown-field", "a header field that is not named does not pass the preflight", unknownField],
  ["cookies", "a request with the browser's own credentials is refused", cookies],
  ["client-2025", "the official client for sessions", (world) => client(world, false)],
  ["client-2026", "the official client for 2026-07-28", (world) => client(world, true)],
];
