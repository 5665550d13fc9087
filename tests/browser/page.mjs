// What runs in the page: bundled for the browser, its functions are `page.…` there.

import { Client as Modern, StreamableHTTPClientTransport as ModernTransport } from "@modelcontextprotocol/client";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const LIMIT = { timeout: 30_000 };

/** What an error of the page says: a refusal by CORS has no more than this. */
const thrown = (error) => ({ thrown: `${error.name}: ${error.message}` });

/** A request by `fetch`: `{ status, type, headers, text }` with the header fields that the page may read, or `{ thrown }`. */
export async function ask(url, how) {
  try {
    const response = await fetch(url, { ...how, signal: AbortSignal.timeout(LIMIT.timeout) });
    const headers = Object.fromEntries(response.headers);
    return { status: response.status, type: response.type, headers, text: await response.text() };
  } catch (error) {
    return thrown(error);
  }
}

/** The messages of an answer that is a stream; the first one is told to the page's own server as it comes. */
export async function stream(url, how) {
  try {
    const response = await fetch(url, { ...how, signal: AbortSignal.timeout(LIMIT.timeout) });
    const messages = [];
    let rest = "";
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return { status: response.status, kind: response.headers.get("content-type"), messages };
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.filter((text) => text.startsWith("data: {"))) {
        messages.push(JSON.parse(line.slice("data: ".length)));
        if (messages.length === 1) await fetch("/heard", { method: "POST" });
      }
    }
  } catch (error) {
    return thrown(error);
  }
}

/** Opens a stream and gives it up once its header fields are there. */
export async function opened(url, how) {
  try {
    const end = new AbortController();
    const response = await fetch(url, { ...how, signal: end.signal });
    end.abort();
    return { status: response.status, kind: response.headers.get("content-type") };
  } catch (error) {
    return thrown(error);
  }
}

/** A session of an official client; `modern` is the one for 2026-07-28. What it saw, or `{ thrown }`. */
export async function session(modern, url, headers, tools) {
  const options = { requestInit: { headers } };
  const transport = modern
    ? new ModernTransport(new URL(url), options)
    : new StreamableHTTPClientTransport(new URL(url), options);
  const info = { name: "page", version: "0.0.0" };
  const client = modern ? new Modern(info, { versionNegotiation: { mode: "auto" } }) : new Client(info);
  const call = (name, given, how) =>
    modern
      ? client.callTool({ name, arguments: given }, how)
      : client.callTool({ name, arguments: given }, undefined, how);
  const words = ({ content, isError }) => (isError ? "error: " : "") + content.map(({ text }) => text).join("");
  try {
    await client.connect(transport, LIMIT);
    const listed = await client.listTools({}, LIMIT);
    const echoed = await call(tools.echo, { text: "from a page" }, LIMIT);
    const progress = [];
    const onprogress = (told) => {
      progress.push(told.progress);
      fetch("/heard", { method: "POST" });
    };
    const stepped = await call(tools.steps, { text: "x" }, { ...LIMIT, onprogress });
    const seen = {
      protocol: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion,
      session: transport.sessionId !== undefined,
      tools: listed.tools.map(({ name }) => name),
      echoed: words(echoed),
      stepped: words(stepped),
      progress,
    };
    if (transport.sessionId !== undefined) await transport.terminateSession();
    await client.close();
    return seen;
  } catch (error) {
    return thrown(error);
  }
}

/** The same request from a frame that is sandboxed, whose origin is `null`. */
export async function framed(url, how) {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  const inner = `fetch(${JSON.stringify(url)}, ${JSON.stringify(how)}).then(
    (response) => response.text().then((text) => ({ status: response.status, text })),
    (error) => ({ thrown: error.name + ": " + error.message }),
  ).then((seen) => parent.postMessage({ origin: self.origin, ...seen }, "*"))`;
  frame.srcdoc = `<!doctype html><script>${inner}<${""}/script>`;
  const message = new Promise((told) => addEventListener("message", ({ data }) => told(data), { once: true }));
  document.body.append(frame);
  const seen = await message;
  frame.remove();
  return seen;
}

/** Sends a text by a form, which needs no preflight; the browser leaves the page for the answer. */
export function submitted(url, text) {
  const form = document.createElement("form");
  Object.assign(form, { method: "POST", action: url, enctype: "text/plain" });
  const field = document.createElement("input");
  // A form writes `name=value`, so the equals sign goes into a text of the message.
  const [name, ...value] = text.split("=");
  Object.assign(field, { type: "hidden", name, value: value.join("=") });
  form.append(field);
  document.body.append(form);
  form.submit();
}
