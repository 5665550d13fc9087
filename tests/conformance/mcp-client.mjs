// A client of the gateway that sends what it is told to, in one of the two generations; for `attacks` and `naughty`.

const PATIENCE_MS = 15_000;
const VERSION = "2026-07-28";
const OLD = "2025-11-25";
const BOTH = "application/json, text/event-stream";

export class Client {
  #id = 0;

  constructor(gateway, key, path) {
    this.gateway = gateway;
    this.key = key;
    this.url = `http://${gateway.host}:${gateway.port}${path}`;
  }

  /** The same caller, in a session of a client with these capabilities. */
  async open(capabilities = {}) {
    const opened = new Client(this.gateway, this.key, new URL(this.url).pathname);
    opened.version = OLD;
    const asked = { protocolVersion: OLD, capabilities, clientInfo: { name: "attacks", version: "0.0.0" } };
    const { response, answer } = await opened.request("initialize", asked);
    opened.refusal = answer?.error;
    opened.session = response?.headers.get("mcp-session-id") ?? undefined;
    if (opened.session) await opened.post({ jsonrpc: "2.0", method: "notifications/initialized" });
    return opened;
  }

  headers(more = {}) {
    return {
      "X-API-Key": this.key,
      "Content-Type": "application/json",
      Accept: BOTH,
      "MCP-Protocol-Version": this.version ?? VERSION,
      ...(this.session && { "Mcp-Session-Id": this.session }),
      ...more,
    };
  }

  /** A POST with this body; the status, and the text as far as it came in time. */
  async post(body, { headers = {}, signal } = {}) {
    const limit = AbortSignal.timeout(PATIENCE_MS);
    return fetch(this.url, {
      method: "POST",
      headers: this.headers(headers),
      body: typeof body === "string" ? body : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  }

  message(method, params = {}, id = (this.#id += 1), capabilities = { elicitation: {} }) {
    if (this.version) return { jsonrpc: "2.0", id, method, params };
    const _meta = {
      "io.modelcontextprotocol/protocolVersion": VERSION,
      "io.modelcontextprotocol/clientCapabilities": capabilities,
      ...params._meta,
    };
    return { jsonrpc: "2.0", id, method, params: { ...params, _meta } };
  }

  /**
   * Sends a request and reads to its answer. `events` has what came before it; `reply` answers what the server asks. What
   * does not come in time is `{ broken }`.
   */
  async request(method, params = {}, { headers = {}, reply, signal, id } = {}) {
    const message = this.message(method, params, id);
    const name = params.name ?? params.uri;
    const own = this.version
      ? {}
      : { "Mcp-Method": method, ...(name !== undefined && { "Mcp-Name": inHeader(name) }) };
    const events = [];
    try {
      const response = await this.post(message, { headers: { ...own, ...headers }, signal });
      for await (const value of messages(response)) {
        if (value.result !== undefined || value.error !== undefined) return { response, events, answer: value };
        events.push(value);
        if (value.id !== undefined && reply) {
          const answered = await this.post({ jsonrpc: "2.0", id: value.id, ...(await reply(value)) });
          await answered.text();
        }
      }
      return { response, events };
    } catch (error) {
      return { broken: error.cause?.message ?? error.message, events };
    }
  }

  call(name, given, more) {
    return this.request("tools/call", { name, arguments: given }, more);
  }

  /** The stream on which the gateway speaks by itself: its status, and `messages` that grow as they come. */
  async listen(headers = {}) {
    const end = new AbortController();
    const response = await fetch(this.url, {
      headers: { ...this.headers(headers), Accept: "text/event-stream" },
      signal: end.signal,
    });
    const heard = { status: response.status, messages: [], ended: false, close: () => end.abort() };
    if (response.ok) {
      heard.reading = (async () => {
        try {
          for await (const value of messages(response)) heard.messages.push(value);
        } catch {
          // It was closed.
        }
        heard.ended = true;
      })();
    }
    return heard;
  }
}

/** The messages of a response, as they come. */
async function* messages(response) {
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    const text = await response.text();
    if (text.startsWith("{")) yield JSON.parse(text);
    return;
  }
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: {")) yield JSON.parse(line.slice("data: ".length));
  }
}

/** A text as a header field has it (SEP-2243). */
export function inHeader(text) {
  const plain = /^[\x20-\x7e]*$/.test(text) && text.trim() === text && !/^=\?base64\?.*\?=$/.test(text);
  return plain ? text : `=?base64?${Buffer.from(text).toString("base64")}?=`;
}

/** The words of a result. */
export const said = (answer) => (answer?.result?.content ?? []).map((item) => item.text).join("");
