// A real OpenID provider (`oidc-provider`) on a free port of this host, for people whose name is their password.
//
// stdin: one line of JSON, { "redirect_uri": where the client `caxton` is sent back to }. stdout: one line, { "issuer" }.
// It ends when stdin does.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

// The library warns of what is only for tests; nobody reads that here.
for (const name of ["info", "warn"]) console[name] = () => {};

const lines = createInterface({ input: process.stdin });
const plan = JSON.parse((await lines[Symbol.asyncIterator]().next()).value);

const people = { dora: ["developer"], olivia: ["operator"], vera: ["viewer"], nobody: [] };
const account = (id) => ({
  accountId: id,
  claims: async () => ({
    sub: id,
    email: `${id}@example.org`,
    email_verified: true,
    name: id,
    roles: people[id] ?? [],
    groups: ["staff"],
  }),
});

const server = createServer();
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "caxton",
      client_secret: "a-secret-of-the-test-0123456789abcdef",
      redirect_uris: [plan.redirect_uri],
      response_types: ["code"],
      grant_types: ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
    },
  ],
  claims: {
    openid: ["sub"],
    email: ["email", "email_verified"],
    profile: ["name", "roles", "groups"],
  },
  conformIdTokenClaims: false,
  cookies: { keys: ["only-for-tests"] },
  // Tokens for a resource say the same of a person as ID tokens do.
  extraTokenClaims: async (_, token) => ({ roles: people[token.accountId] ?? [] }),
  features: {
    deviceFlow: { enabled: true },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        audience: resource,
        scope: "caxton:access",
        accessTokenFormat: "jwt",
        accessTokenTTL: 600,
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
  findAccount: (_, id) => account(id),
  pkce: { required: () => true },
  // Longer than any pause of the machine.
  ttl: { AuthorizationCode: 600 },
  scopes: ["openid", "offline_access", "profile", "email", "caxton:access"],
});
server.on("request", provider.callback());
console.log(JSON.stringify({ issuer }));
for await (const _ of lines) break;
process.exit(0);
