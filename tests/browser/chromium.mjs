// Starts a Chromium without a window and drives it by its DevTools protocol, over a pipe: no port is open.

import { spawn } from "node:child_process";
import { createWriteStream, mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Stop, stopper } from "../conformance/processes.mjs";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chromium-headless-shell"];
/** A busy machine is not what is tested. */
const PATIENCE_MS = 60_000;
const SETTLE_MS = 5_000;

const flags = (profile, names) => [
  "--headless=new",
  // It would need a kernel and an account that continuous integration does not have; only pages of this test are loaded.
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-extensions",
  "--disable-sync",
  "--no-first-run",
  "--no-proxy-server",
  `--host-resolver-rules=${[...names.map((name) => `MAP ${name} 127.0.0.1`), "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", "EXCLUDE localhost"].join(", ")}`,
  `--user-data-dir=${profile}`,
  "--remote-debugging-pipe",
  "about:blank",
];

function launch(command, given, log) {
  return new Promise((started, failed) => {
    const child = spawn(command, given, { stdio: ["ignore", "pipe", "pipe", "pipe", "pipe"] });
    child.once("error", failed);
    child.once("spawn", () => {
      const written = createWriteStream(log);
      child.stdout.pipe(written);
      child.stderr.pipe(written);
      started(child);
    });
  });
}

async function found(given, log) {
  const names = process.env.CHROMIUM ? [process.env.CHROMIUM] : NAMES;
  for (const name of names) {
    try {
      return await launch(name, given, log);
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  }
  throw new Stop(`there is none of ${names.join(", ")}: install Chromium, or name it in CHROMIUM`);
}

/** The protocol: commands with answers, and events by the session that they are of. */
class Connection {
  #next = 0;
  #waiting = new Map();
  #heard = new Set();
  #to;

  constructor(child, log) {
    this.#to = child.stdio[3];
    this.#to.on("error", () => {});
    child.once("exit", (code, signal) =>
      this.#end(new Stop(`the browser ended with ${signal ?? code}; see ${log}`)),
    );
    const parts = [];
    child.stdio[4].on("data", (part) => {
      // Messages end with a zero byte.
      let from = 0;
      for (let end = part.indexOf(0); end >= 0; end = part.indexOf(0, from)) {
        parts.push(part.subarray(from, end));
        this.#take(JSON.parse(Buffer.concat(parts.splice(0)).toString("utf8")));
        from = end + 1;
      }
      parts.push(part.subarray(from));
    });
  }

  #take({ id, method, params, result, error, sessionId }) {
    if (id === undefined) return this.#heard.forEach((hear) => hear(method, params, sessionId));
    const { answered, failed } = this.#waiting.get(id) ?? {};
    this.#waiting.delete(id);
    return error ? failed?.(new Error(error.message)) : answered?.(result);
  }

  #end(error) {
    for (const { failed } of this.#waiting.values()) failed(error);
    this.#waiting.clear();
  }

  send(method, params = {}, sessionId) {
    const id = (this.#next += 1);
    return new Promise((answered, failed) => {
      const late = setTimeout(() => failed(new Error(`the browser does not answer ${method}`)), PATIENCE_MS);
      const settle = (done) => (value) => {
        clearTimeout(late);
        done(value);
      };
      this.#waiting.set(id, { answered: settle(answered), failed: settle(failed) });
      this.#to.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  onEvent(hear) {
    this.#heard.add(hear);
  }
}

const lower = (headers) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

/** What the page did and what was on the wire come on ways of their own. A request that a preflight stops is on none. */
const settled = (requests) =>
  requests.every(({ headers, status, failed = "" }) =>
    failed.includes("Preflight")
      ? requests.some(({ method }) => method === "OPTIONS")
      : headers !== undefined && status !== undefined,
  );

/** A page, with all that it has sent. */
class Tab {
  #connection;
  #session;
  #loaded = () => {};
  /** By the browser's id: `{ method, url, type, headers, status, failed }`; `headers` are those on the wire. */
  #requests = new Map();

  constructor(connection, session) {
    this.#connection = connection;
    this.#session = session;
    connection.onEvent((method, params, of) => {
      if (of === session) this.#hear(method, params);
    });
  }

  #request(id) {
    if (!this.#requests.has(id)) this.#requests.set(id, {});
    return this.#requests.get(id);
  }

  #hear(method, params) {
    switch (method) {
      case "Page.loadEventFired":
        return this.#loaded();
      case "Network.requestWillBeSent": {
        const { method: verb, url } = params.request;
        return Object.assign(this.#request(params.requestId), { method: verb, url, type: params.type });
      }
      case "Network.requestWillBeSentExtraInfo":
        return Object.assign(this.#request(params.requestId), { headers: lower(params.headers) });
      case "Network.responseReceivedExtraInfo":
        return Object.assign(this.#request(params.requestId), { status: params.statusCode });
      case "Network.loadingFailed":
        return Object.assign(this.#request(params.requestId), {
          failed: params.corsErrorStatus?.corsError ?? params.errorText,
        });
      default:
        return undefined;
    }
  }

  send(method, params) {
    return this.#connection.send(method, params, this.#session);
  }

  /** Resolves when the page that `work` leads to has been loaded. */
  async loading(work) {
    const loaded = new Promise((done, failed) => {
      const late = setTimeout(() => failed(new Error("the page was not loaded in time")), PATIENCE_MS);
      this.#loaded = () => {
        clearTimeout(late);
        done();
      };
    });
    await Promise.all([loaded, work()]);
  }

  open(url) {
    return this.loading(() => this.send("Page.navigate", { url }));
  }

  /** What the expression comes to in the page, promises included. */
  async run(expression) {
    const asked = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", asked);
    if (exceptionDetails)
      throw new Error(`the page: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    return result.value;
  }

  /** Calls a function of `page.mjs`. */
  page(name, ...given) {
    return this.run(`page.${name}(${given.map((value) => JSON.stringify(value) ?? "undefined").join(", ")})`);
  }

  /** The requests to this address since it was last asked, preflights among them, once all is known about them. */
  async taken(url) {
    const found = () => [...this.#requests.values()].filter((request) => request.url?.startsWith(url));
    const end = Date.now() + SETTLE_MS;
    while (!settled(found()) && Date.now() < end) await sleep(10);
    const all = found();
    this.forget();
    return all;
  }

  forget() {
    this.#requests.clear();
  }

  close() {
    return this.send("Page.close");
  }
}

/**
 * A browser in which `names` are this host: `{ tab(url, fresh), version, stop }`. A tab that
 * is `fresh` shares nothing with the others.
 */
export async function startChromium(logs, names = []) {
  const profile = join(logs, "profile");
  mkdirSync(profile, { recursive: true });
  const log = join(logs, "chromium.log");
  const child = await found(flags(profile, names), log);
  const stop = stopper(child);
  const connection = new Connection(child, log);
  const { product } = await connection.send("Browser.getVersion");
  return {
    version: product,
    stop,
    async tab(url, fresh = false) {
      const context = fresh ? await connection.send("Target.createBrowserContext") : {};
      const { targetId } = await connection.send("Target.createTarget", { url: "about:blank", ...context });
      const { sessionId } = await connection.send("Target.attachToTarget", { targetId, flatten: true });
      const tab = new Tab(connection, sessionId);
      for (const domain of ["Page", "Network", "Runtime"]) await tab.send(`${domain}.enable`);
      await tab.open(url);
      return tab;
    },
  };
}
