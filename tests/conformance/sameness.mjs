// When what was seen directly and what was seen through a gateway are the same.

// What is another one each time: ids, times, addresses, sealed states.
const FRESH = [
  [/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "<id>"],
  [/\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z/g, "<time>"],
  [/127\.0\.0\.1:\d+(?:\/servers\/fixture)?(\/mcp)?/g, "<address>$1"],
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
  "inspectedFramesCount",
  "inspectedNotificationCount",
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

/**
 * What was seen, as text, without what is another one each time and without what Caxton adds to `_meta`.
 *
 * `rules` are entries of `meant.mjs`: `without` names keys that are left out, `PARENT.KEY` those of one parent only; the
 * lists under the keys in `sorted` are in the order of their items' text; items of lists whose text matches `leaveOut` are
 * left out; `replace` has pairs for `String.replaceAll`.
 */
export function seen(value, rules = []) {
  const without = new Set(rules.flatMap((rule) => rule.without ?? []));
  const leftOut = rules.flatMap((rule) => rule.leaveOut ?? []);
  const unordered = new Set(rules.flatMap((rule) => rule.sorted ?? []));
  const plain = (inner, key, parent) => {
    if (key.startsWith("caxton/") || without.has(key) || without.has(`${parent}.${key}`)) return undefined;
    if (inner === null || inner === undefined) return inner;
    if (OPAQUE.has(key)) return `<${key}>`;
    if (typeof inner !== "object") return inner;
    if (Array.isArray(inner)) {
      const items = inner
        .map((item) => plain(item, Array.isArray(item) ? key : "", key))
        .filter((item) => !leftOut.some((pattern) => pattern.test(JSON.stringify(item))));
      return unordered.has(key) && !Array.isArray(inner[0]) ? ordered(items) : items;
    }
    if (key === "_meta" && Object.keys(inner).every((name) => name.startsWith("caxton/"))) return undefined;
    const fields = Object.entries(inner).map(([name, field]) => [name, plain(field, name, key)]);
    return sorted(Object.fromEntries(fields.filter(([, field]) => field !== undefined)));
  };
  const kept = JSON.stringify(plain(value ?? null, "", "") ?? null);
  const replace = [...FRESH, ...rules.flatMap((rule) => rule.replace ?? [])];
  return replace.reduce((text, [from, to]) => text.replaceAll(from, to), kept);
}

const ordered = (items) =>
  items
    .map((item) => [JSON.stringify(item), item])
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([, item]) => item);

/** Around the first place in which two texts differ. */
export function apart(left, right) {
  let at = 0;
  while (at < left.length && left[at] === right[at]) at += 1;
  const from = Math.max(0, at - 40);
  return `directly …${left.slice(from, at + 120)}…, through Caxton …${right.slice(from, at + 120)}…`;
}

/** What is meant to differ (`meant.mjs`), and whether it did. */
export class Meant {
  #entries;
  #used = new Set();

  constructor(entries) {
    this.#entries = entries;
  }

  /**
   * Whether two values differ otherwise than is meant; the texts that do. `fits` says whether an entry is about them;
   * `always` are rules of the same shape that need not make a difference.
   */
  difference(here, there, fits, always = []) {
    if (seen(here, always) === seen(there, always)) return undefined;
    const rules = this.#entries.filter((entry) => entry.statuses === undefined && fits(entry));
    const texts = (used) => [seen(here, [...always, ...used]), seen(there, [...always, ...used])];
    const same = (used) => texts(used).every((text, _, [first]) => text === first);
    if (!same(rules)) return texts(rules);
    // Each without which they would differ.
    for (const rule of rules) if (!same(rules.filter((other) => other !== rule))) this.#used.add(rule);
    return undefined;
  }

  /** Whether it is meant that one outcome is this and the other that. */
  isOutcome(here, there, fits) {
    const found = this.#entries.find(
      (entry) => entry.statuses?.some(([one, other]) => one === here && other === there) && fits(entry),
    );
    if (found) this.#used.add(found);
    return found !== undefined;
  }

  /** What is meant to differ and did not, of the entries that `fits` names. */
  unused(fits) {
    return this.#entries.filter((entry) => !this.#used.has(entry) && fits(entry)).map(({ why }) => why);
  }
}
