// What the attacks of `attacks` share.

import { readFileSync } from "node:fs";
import { request as sendHttp } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const SERVER = "hostile";
export const PATH = `/servers/${SERVER}/mcp`;
export const ELICITATION = { elicitation: {} };

export const note = (method, params) => ({ jsonrpc: "2.0", method, params });
export const shown = (value) => JSON.stringify(value)?.slice(0, 200);

/** Resident megabytes of the gateway. */
export const memory = ({ child }) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))[1]) / 1024;

/** Lines of the decision log. */
export const recorded = ({ home }) => readFileSync(join(home, "data/audit.log"), "utf8").split("\n").length;

/** Waits until it is so, for some time; whether it is. */
export async function until(true_, patience = 10_000) {
  const end = Date.now() + patience;
  while (!true_() && Date.now() < end) await sleep(50);
  return true_();
}

/** `work` for each item, some at once. */
export async function each(items, atOnce, work) {
  const left = [...items.entries()];
  const worker = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await work(next[1], next[0]);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** A POST with these header fields, spelled and repeated as they are here; a list of values is a field as often. */
export function exactly(url, headers, body) {
  return new Promise((done, failed) => {
    const fields = { ...headers, "Content-Length": Buffer.byteLength(body) };
    const sent = sendHttp(url, { method: "POST", headers: fields, timeout: 15_000 });
    sent.on("error", failed).on("timeout", () => sent.destroy(new Error("no answer in time")));
    sent.on("response", (response) => {
      let text = "";
      response
        .on("data", (part) => {
          text += part;
          // A stream that says yes is not waited for.
          if (text.includes("acknowledged")) finish();
        })
        .on("end", finish)
        .on("error", finish);
      function finish() {
        const [, event] = /^data: (\{"jsonrpc.*"(?:result|error)".*)$/m.exec(text) ?? [];
        let answer;
        try {
          answer = JSON.parse(event ?? text);
        } catch {
          // It is none.
        }
        done({ status: response.statusCode, answer, text });
        response.destroy();
      }
    });
    sent.end(body);
  });
}
