// Random policies over the world of `eras-server.mjs`, each from its seed; part of `eras`.

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const C = "Caxton::";
const action = (name) => `${C}Action::"${name}"`;
const PRINCIPALS = [
  "principal",
  "principal",
  `principal == ${C}Service::"ada"`,
  `principal == ${C}Service::"bob"`,
  `principal in ${C}Role::"tool:call"`,
  `principal in ${C}Role::"resource:read"`,
];

/** What a policy can be about: the scope of action and resource, and conditions that fit them. */
function topics(server) {
  const tool = (name) => action(`${server}___${name}`);
  const mcp = `resource in ${C}McpServer::"${server}"`;
  const text = (value) => `context.input.text == "${value}"`;
  const inputs = [text("a"), text("b"), 'context.input.text like "a*"', `!(${text("c")})`];
  const OF_TOOL = [
    "resource.read_only",
    'resource.name == "alpha"',
    'resource.name like "*a"',
    `resource.server == "${server}"`,
    "resource.pinned",
  ];
  const OF_PROMPT = ['resource.name like "b*"', 'resource.name == "alpha"', `resource.server == "${server}"`];
  // A template and what fits it are alike for all of these.
  const OF_RESOURCE = ['resource.scheme == "era"', 'resource.uri like "era://a/*"', 'resource.uri like "*b/*"'];
  // Of apps and of skills.
  const OF_PAGE = ['resource.uri like "*://a/*"', `resource.server == "${server}"`, 'resource.uri like "ui:*"'];
  const READS = ["resource:read", "resource:read", "resource:subscribe", "resource:*"];
  return [
    { scope: [`action in ${action("tool:call")}`, "resource"], when: OF_TOOL },
    { scope: [`action in ${action("tool:call")}`, mcp], when: OF_TOOL },
    ...["alpha", "beta", "gamma", "ask"].map((name) => ({
      scope: [`action == ${tool(name)}`, "resource"],
      when: [...OF_TOOL, ...inputs, ...inputs],
      name,
    })),
    {
      scope: [`action in [${tool("alpha")}, ${tool("beta")}]`, "resource"],
      when: [...OF_TOOL, ...inputs],
    },
    { scope: [`action == ${action("prompt:get")}`, "resource"], when: OF_PROMPT },
    { scope: [`action == ${action("prompt:get")}`, mcp], when: OF_PROMPT },
    { scope: [`action == ${action("completion:complete")}`, "resource"], when: [] },
    ...READS.filter((name) => !name.endsWith("*")).map((name) => ({
      scope: [`action == ${action(name)}`, "resource"],
      when: OF_RESOURCE,
    })),
    { scope: [`action in [${action("resource:read")}, ${action("resource:subscribe")}]`, mcp], when: OF_RESOURCE },
    { scope: [`action == ${action("app:read")}`, "resource"], when: OF_PAGE },
    { scope: [`action in ${action("app:*")}`, mcp], when: OF_PAGE },
    { scope: [`action == ${action("skill:get")}`, "resource"], when: OF_PAGE },
    { scope: [`action == ${action("skill:get")}`, mcp], when: OF_PAGE },
    { scope: [`action == ${action("elicitation:create")}`, "resource"], when: [] },
    {
      scope: [`action in [${["tool:list", "prompt:list", "resource:list", "skill:list"].map(action).join(", ")}]`, "resource"],
      when: [],
    },
  ];
}

/** A policy set as text, for this seed. */
export function policies(seed, server) {
  const next = random(seed);
  const one = (items) => items[Math.floor(next() * items.length)];
  const all = topics(server);
  const found = [];
  const add = (effect, principal, [about, resource], conditions) =>
    found.push(
      `@id("era.p${found.length}")\n${effect} (${principal}, ${about}, ${resource})${conditions.map((text) => `\n${text}`).join("")};`,
    );
  // The lists themselves, so that there is mostly something to see.
  if (next() < 0.9) add("permit", "principal", all.at(-1).scope, []);
  const count = 3 + Math.floor(next() * 8);
  for (let number = 0; number < count; number += 1) {
    const topic = one(all);
    const conditions = [];
    for (let more = 0; more < 2 && topic.when.length > 0 && next() < 0.5; more += 1)
      conditions.push(`${next() < 0.75 ? "when" : "unless"} { ${one(topic.when)} }`);
    const bare = conditions.length === 0;
    // A `forbid` of everything is there, and seldom.
    const effect = next() < (bare ? 0.08 : 0.3) ? "forbid" : "permit";
    add(effect, one(PRINCIPALS), topic.scope, conditions);
  }
  return `${found.join("\n\n")}\n`;
}
