// When what was seen directly and what was seen through a gateway are the same.

// What is another one each time: ids, times, addresses, sealed states.
const FRESH = [
  [/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "<id>"],
  [/\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z/g, "<time>"],
  [/127\.0\.0\.1:\d+/g, "<address>"],
];
/** Keys whose values are chance, or in which a gateway speaks for itself; that they are there is compared. */
const OPAQUE = new Set([
  "requestState",
  "sessionId",
  "sessionIdSent",
  "lastEventId",
  "lastEventIdUsed",
  "eventId",
  "eventCount",
  "messagesValidated",
  "progressToken",
  "subscriptionId",
  "io.modelcontextprotocol/subscriptionId",
  "server",
  "serverInfo",
  "io.modelcontextprotocol/serverInfo",
  "supported",
  "supportedVersions",
]);

const sorted = (object) =>
  Object.fromEntries(Object.entries(object).sort(([one], [other]) => (one < other ? -1 : 1)));

/** What was seen, as text, without what is another one each time and without what Caxton adds to `_meta`. */
export function seen(value) {
  const kept = JSON.stringify(value ?? null, (key, inner) => {
    if (key.startsWith("caxton/")) return undefined;
    if (inner === null || inner === undefined) return inner;
    if (OPAQUE.has(key)) return `<${key}>`;
    if (typeof inner !== "object" || Array.isArray(inner)) return inner;
    if (key === "_meta" && Object.keys(inner).every((name) => name.startsWith("caxton/"))) return undefined;
    return sorted(inner);
  });
  return FRESH.reduce((text, [from, to]) => text.replaceAll(from, to), kept);
}

/** Around the first place in which two texts differ. */
export function apart(left, right) {
  let at = 0;
  while (at < left.length && left[at] === right[at]) at += 1;
  const from = Math.max(0, at - 40);
  return `directly …${left.slice(from, at + 120)}…, through Caxton …${right.slice(from, at + 120)}…`;
}
