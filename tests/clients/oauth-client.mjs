// An MCP client (`@modelcontextprotocol/sdk`) that knows nothing but the address of a gateway: it is refused, finds the
// provider by itself, registers there, has its person log in, and calls a tool.
//
// stdin: { "url", "person", "tool", "arguments" }. stdout: { "resource", "issuer", "tools", "result" }.

import { text } from "node:stream/consumers";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const plan = JSON.parse(await text(process.stdin));
// A busy machine is not what is tested.
const LIMIT = { timeout: 180_000 };

class Person {
  redirectUrl = "http://127.0.0.1:9/callback";
  clientMetadata = {
    client_name: "an MCP client",
    redirect_uris: [this.redirectUrl],
    grant_types: ["authorization_code"],
    response_types: ["code"],
    token_endpoint_auth_method: "none",
    application_type: "native",
  };
  clientInformation = () => this.registered;
  saveClientInformation = (given) => (this.registered = given);
  tokens = () => this.given;
  saveTokens = (given) => (this.given = given);
  redirectToAuthorization = (url) => (this.place = url);
  saveCodeVerifier = (verifier) => (this.verifier = verifier);
  codeVerifier = () => this.verifier;
}

// What a browser does with the pages of the provider; answers with the address that it is sent to in the end.
async function logIn(place, stop) {
  const jar = new Map();
  let url = new URL(place);
  let body;
  for (let steps = 0; steps < 30; steps += 1) {
    if (url.href.startsWith(stop)) return url;
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const method = body ? "POST" : "GET";
    const answer = await fetch(url, { method, body, redirect: "manual", headers: { cookie } });
    body = undefined;
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (value) jar.set(name, value);
      else jar.delete(name);
    }
    const next = answer.headers.get("location");
    if (next) {
      url = new URL(next, url);
      continue;
    }
    const page = await answer.text();
    const form = /<form[^>]*action="([^"]+)"[^>]*>([\s\S]*?)<\/form>/.exec(page);
    if (!form) throw new Error(`no way on from ${url}: ${page}`);
    body = new URLSearchParams();
    for (const [input] of form[2].matchAll(/<input[^>]*>/g)) {
      const name = /name="([^"]*)"/.exec(input)?.[1];
      const value = /value="([^"]*)"/.exec(input)?.[1] ?? "";
      if (name) body.set(name, ["login", "password"].includes(name) ? plan.person : value);
    }
    url = new URL(form[1], url);
  }
  throw new Error("no end of it");
}

const person = new Person();
const open = () => new StreamableHTTPClientTransport(new URL(plan.url), { authProvider: person });
const fresh = () => new Client({ name: "caxton-test", version: "0.0.0" });

const first = open();
try {
  await fresh().connect(first, LIMIT);
  throw new Error("it got in without a token");
} catch (error) {
  if (!(error instanceof UnauthorizedError)) throw error;
}
const back = await logIn(person.place, person.redirectUrl);
await first.finishAuth(back.searchParams.get("code"));

const client = fresh();
await client.connect(open(), LIMIT);
const tools = (await client.listTools({}, LIMIT)).tools.map((tool) => tool.name);
const result = await client.callTool({ name: plan.tool, arguments: plan.arguments }, undefined, LIMIT);
await client.close();
const { searchParams, origin } = person.place;
console.log(JSON.stringify({ resource: searchParams.get("resource"), scope: searchParams.get("scope"), issuer: origin, tools, result }));
