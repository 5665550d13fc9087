// What no other page can do: `[name, what it shows, work]`. Each tries what works for the page that may.

import assert from "node:assert/strict";
import { preflighted } from "./world.mjs";

/** Nothing came of it, and the page has read nothing; the requests that the browser sent. */
async function refused(world, tab, work) {
  const seen = await world.nothing(() => work(tab));
  assert.match(seen.thrown ?? JSON.stringify(seen), /^TypeError/, "the page has read an answer");
  return preflighted(await tab.taken(world.api));
}

/** A request with a preflight, which is refused: the request itself is never sent. */
async function atPreflight(world, tab, how, origin) {
  const sent = await refused(world, tab, (page) => page.page("ask", world.mcp, how));
  assert.equal(sent.preflight.length, 1, sent.shown);
  assert.ok(sent.preflight[0].status >= 400, sent.shown);
  assert.equal(sent.preflight[0].headers.origin, origin);
  assert.equal(sent.requests[0].failed, "PreflightMissingAllowOriginHeader", sent.shown);
  assert.equal(sent.requests[0].status, undefined, "the request was sent");
}

async function otherOrigin(world) {
  await atPreflight(world, await world.stranger(), world.call("echo", { text: "x" }), world.other);
}

async function otherStateless(world) {
  await atPreflight(world, await world.stranger(), world.alone("echo", { text: "x" }), world.other);
}

/** Origins are compared as they are written: this is the page's own server under its other name. */
async function otherName(world) {
  const url = world.allowed.replace("127.0.0.1", "localhost");
  await atPreflight(world, await world.tab(`${url}/`), world.call("echo", { text: "x" }), url);
}

/** A request that a browser sends without a preflight. */
async function simple(world) {
  const stranger = await world.stranger();
  const message = JSON.stringify(world.message("tools/list"));
  const how = { method: "POST", body: message, headers: { "Content-Type": "text/plain" } };
  const sent = await refused(world, stranger, (page) => page.page("ask", world.mcp, how));
  assert.deepEqual([sent.preflight.length, sent.requests.length], [0, 1]);
  assert.equal(sent.requests[0].status, 403);
}

/** The same where the page does not want to read the answer. */
async function unread(world) {
  const stranger = await world.stranger();
  const message = JSON.stringify(world.message("tools/list"));
  const how = { method: "POST", mode: "no-cors", body: message, headers: { "Content-Type": "text/plain" } };
  const seen = await world.nothing(() => stranger.page("ask", world.mcp, how));
  assert.deepEqual([seen.type, seen.status, seen.text, seen.headers], ["opaque", 0, "", {}]);
  const [request] = preflighted(await stranger.taken(world.api)).requests;
  assert.equal(request.status, 403);
}

async function get(world) {
  for (const path of ["/mcp", "/v1/tools", "/.well-known/oauth-protected-resource/mcp", "/nothing"]) {
    const stranger = await world.stranger();
    const sent = await refused(world, stranger, (page) => page.page("ask", `${world.api}${path}`, {}));
    assert.equal(sent.requests[0].failed, "MissingAllowOriginHeader", `${path}: ${sent.shown}`);
  }
}

async function form(world) {
  const tab = await world.browser.tab(`${world.other}/`);
  const { id, ...message } = world.message("tools/call", { name: world.tool("echo"), arguments: { text: "x" } });
  const text = JSON.stringify({ ...message, id, more: "=" });
  tab.forget();
  await world.nothing(() => tab.loading(() => tab.page("submitted", world.mcp, text)));
  const [request] = await tab.taken(world.mcp);
  assert.deepEqual([request.method, request.status, request.headers.origin], ["POST", 403, world.other]);
  await tab.close();
}

async function client(world, modern) {
  const stranger = await world.stranger();
  const seen = await world.nothing(() => stranger.page("session", modern, world.mcp, world.bearer, world.tools));
  assert.ok(seen.thrown, JSON.stringify(seen));
}

/** A frame of the page that may: it has no origin, and is anybody's. */
async function frame(world) {
  const page = await world.page();
  const how = world.call("echo", { text: "x" });
  const seen = await world.nothing(() => page.page("framed", world.mcp, how));
  assert.equal(seen.origin, "null");
  assert.match(seen.thrown ?? JSON.stringify(seen), /^TypeError/, "the frame has read an answer");
  const plain = await world.nothing(() => page.page("framed", `${world.api}/v1/tools`, {}));
  assert.match(plain.thrown ?? JSON.stringify(plain), /^TypeError/, "the frame has read an answer");
}

/** A whole page of the origin that may, sandboxed. */
async function sandboxed(world) {
  const tab = await world.tab(`${world.allowed}/sandboxed`);
  assert.equal(await tab.run("self.origin"), "null");
  tab.forget();
  await atPreflight(world, tab, world.call("echo", { text: "x" }), "null");
}

/** A page whose name means the gateway's host calls as of its own host: no preflight, and answers could be read. */
async function rebound(world) {
  const own = `http://${world.rebound}:${world.gateway.port}`;
  const tab = await world.tab(`${own}/`);
  assert.equal(await tab.run("self.origin"), own);
  tab.forget();
  const how = world.call("echo", { text: "x" });
  const ask = `fetch("/mcp", ${JSON.stringify(how)}).then(async (r) => ({ status: r.status, text: await r.text() }))`;
  const seen = await world.nothing(() => tab.run(ask));
  assert.equal(seen.status, 403, JSON.stringify(seen));
  const [request] = await tab.taken(`${own}/mcp`);
  assert.deepEqual([request.method, request.headers.origin], ["POST", own]);
}

export const REFUSED = [
  ["other-origin", "the preflight is refused, and nothing is sent", otherOrigin],
  ["other-stateless", "the same for 2026-07-28", otherStateless],
  ["other-name", "the same from localhost where 127.0.0.1 is named", otherName],
  ["other-simple", "a request without a preflight is answered with 403, which cannot be read", simple],
  ["other-unread", "the same in mode no-cors", unread],
  ["other-get", "nothing of the port can be read", get],
  ["other-form", "a form that is sent is answered with 403", form],
  ["other-client-2025", "the official client for sessions does not connect", (world) => client(world, false)],
  ["other-client-2026", "the official client for 2026-07-28 does not connect", (world) => client(world, true)],
  ["null-frame", "a sandboxed frame of a page that may", frame],
  ["null-page", "a sandboxed page: Origin: null", sandboxed],
  ["rebound", "a page whose name was made to mean this host", rebound],
];
