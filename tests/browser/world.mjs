// What the rows share: the two origins, the gateway, what it recorded, what the server behind it got.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const OLD = "2025-11-25";
export const NEW = "2026-07-28";
export const BOTH = "application/json, text/event-stream";

export class World {
  #tabs = new Map();
  #id = 0;

  constructor(parts) {
    Object.assign(this, parts);
    this.api = `http://${this.gateway.host}:${this.gateway.port}`;
    this.mcp = `${this.api}/mcp`;
    this.bearer = { Authorization: `Bearer ${this.token}` };
    this.tools = { echo: this.tool("echo"), steps: this.tool("steps") };
  }

  /** A tool's name at the address of all servers. */
  tool(name) {
    return `${this.server}___${name}`;
  }

  /** The tab with this page; the same one for all rows. */
  async tab(url) {
    if (!this.#tabs.has(url)) this.#tabs.set(url, await this.browser.tab(url));
    return this.#tabs.get(url);
  }

  /** A page of the origin that may call. */
  page() {
    return this.tab(`${this.allowed}/`);
  }

  /** The same in a browser that has never been here. */
  freshPage() {
    return this.browser.tab(`${this.allowed}/`, true);
  }

  /** A page of one that may not. */
  stranger() {
    return this.tab(`${this.other}/`);
  }

  /** A POST of this message, as the options of `fetch`. */
  post(message, headers = {}, more = {}) {
    return {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: BOTH, ...headers },
      body: JSON.stringify(message),
      ...more,
    };
  }

  message(method, params = {}) {
    return { jsonrpc: "2.0", id: (this.#id += 1), method, params };
  }

  /** A call of a tool in the earlier generation, without a session. */
  call(name, given, headers = this.bearer) {
    const message = this.message("tools/call", { name: this.tool(name), arguments: given });
    return this.post(message, { "MCP-Protocol-Version": OLD, ...headers });
  }

  /** The same as a request that stands alone (2026-07-28). */
  alone(name, given, headers = {}) {
    const _meta = {
      "io.modelcontextprotocol/protocolVersion": NEW,
      "io.modelcontextprotocol/clientInfo": { name: "page", version: "0.0.0" },
      "io.modelcontextprotocol/clientCapabilities": {},
    };
    const params = { name: this.tool(name), arguments: given, _meta };
    return this.post(this.message("tools/call", params), {
      ...this.bearer,
      "MCP-Protocol-Version": NEW,
      "Mcp-Method": "tools/call",
      "Mcp-Name": this.tool(name),
      ...headers,
    });
  }

  /** Records of the decision log that allowed something. */
  allowedRecords() {
    const lines = readFileSync(join(this.gateway.home, "data/audit.log"), "utf8").split("\n").filter(Boolean);
    return lines.map((line) => JSON.parse(line)).filter(({ outcome }) => outcome === "allow");
  }

  /** Does the work; gives what it came to, with what was allowed and what the server got meanwhile. */
  async effects(work) {
    const [records, calls] = [this.allowedRecords().length, this.upstream.calls.length];
    const value = await work();
    return { value, records: this.allowedRecords().slice(records), calls: this.upstream.calls.slice(calls) };
  }

  /** The same, and nothing may have come of it. */
  async nothing(work) {
    const { value, records, calls } = await this.effects(work);
    assert.deepEqual(records, [], "the decision log has something that was allowed");
    assert.deepEqual(calls, [], "the server has got a call");
    return value;
  }

  /** Forgets what the tabs have sent: each row begins with none. */
  calm() {
    for (const tab of this.#tabs.values()) tab.forget();
  }
}

/** The words of a result. */
export const words = (text) =>
  JSON.parse(text)
    .result.content.map((item) => item.text)
    .join("");

/** What a tab has sent: the preflights, the requests, and all of them as text. */
export function preflighted(sent) {
  const preflight = sent.filter(({ method }) => method === "OPTIONS");
  const shown = sent
    .map(({ method, status, failed }) => [method, status, failed].filter(Boolean).join(" "))
    .join(", ");
  return { preflight, requests: sent.filter(({ method }) => method !== "OPTIONS"), shown };
}
