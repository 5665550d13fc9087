// Where the gateway is meant to show something else than the server behind it, each with its reason.
//
// An entry is for the checks (or steps) that it names, in all `runs` (or for all `clients`) or those given, whatever
// server is behind the gateway or only with `only`. What it makes equal is in `sameness.mjs` (`without`, `sorted`,
// `leaveOut`, `replace`), or the outcomes that may stand beside each other (`statuses`). One that is about nothing any
// more is reported.

const DIRECTLY_WITHOUT = ["SUCCESS", "absent"];
const MODERN = ["0.2/2026-07-28"];

const OWN_WORDS =
  "what the gateway refuses by itself, it refuses in its own words; the code, the id and the status are the same";
const IN_ORDER = "tools come in the order of their names";
const OWN_CAPABILITIES = "the gateway declares what it passes on, and instructs clients in its own words";
const NAMES_SERVER = "a question names the server that asks";
const SEALED =
  "the state is sealed by the gateway, also when the server gave none, so that the answer belongs to its request";
const PRIVATE = "what one caller may see is nobody else's and may change with the next policy";
const OLD_WITHOUT_EXTENSIONS = "the server of an earlier version has neither tasks nor skills";
const ONE_PAGE = "every list is one page";
const SEALED_TASK = "the name of a task is sealed for the principal whose call began it";
const AS_JSON = "an answer is JSON unless something comes before it";
const NEWER_LISTS =
  "whatever the client speaks, a server is asked for its lists in the newest version that it knows, where this one has more";
const OLD_SERVER =
  "a server of an earlier version asks on a stream, and a client of 2026-07-28 takes no question there";

const of = (...names) => new RegExp(`^(?:${names.join("|")})$`);

/** For `compare`, by the id of the check. */
export const CHECKS = [
  {
    why: OWN_WORDS,
    checks: of(
      "sep-2575-request-meta-invalid-.*",
      "sep-2575-http-server-meta-invalid-400",
      "sep-2575-server-unsupported-version-error",
      "sep-2575-http-server-unsupported-version-400",
      "sep-2575-http-server-header-mismatch-400",
      "sep-2575-http-server-method-not-found-404.*",
      "sep-2243-server-reject-.*",
      "sep-2243-server-validate-param-match",
    ),
    without: ["error.message", "error.data"],
  },
  {
    why: `${OWN_WORDS}: a problem document (RFC 9457) comes before JSON-RPC`,
    checks: of("localhost-host-rebinding-rejected"),
    without: ["body"],
  },
  { why: OWN_WORDS, checks: of("sep-2322-reject-tampered-state"), without: ["tamperedResponse.message"] },
  {
    why: `${OWN_WORDS}: \`inputResponses\` that is no object does not go on`,
    checks: of("sep-2322-error-on-protocol-error"),
    without: ["result", "error.message", "error.code", "error"],
  },
  {
    why: IN_ORDER,
    checks: of("tools-list", "json-schema-2020-12-tool-found"),
    sorted: ["tools", "availableTools"],
  },
  { why: IN_ORDER, checks: of("tools-list-deterministic-order"), sorted: ["orders"], runs: MODERN },
  {
    why: IN_ORDER,
    checks: of("sep-2575-discover-capabilities-match-handlers", "sep-2243-header-name-case-insensitive"),
    sorted: ["tools"],
  },
  {
    why: `${IN_ORDER}, and the suite calls the first, which is another one`,
    checks: of("sep-2243-server-reject-invalid-headers", "sep-2243-server-reject-error-code"),
    without: ["requestBodyName"],
  },
  {
    why: `${IN_ORDER}, and the suite calls the first, which is another one`,
    checks: of("sep-2243-server-accepts-whitespace-header-value"),
    without: ["bodyValue", "headerValue", "result.content", "result.isError"],
  },
  {
    why: OWN_CAPABILITIES,
    checks: of(
      "sep-2575-request-meta-client-info-optional",
      "sep-2575-server-implements-discover",
      "sep-2575-server-declares-prompts-in-discover",
      "sep-2575-discover-capabilities-match-handlers",
      "localhost-host-valid-accepted",
    ),
    without: [
      "capabilities.extensions",
      "discoverCapabilities.extensions",
      "capabilities.logging",
      "discoverCapabilities.logging",
      "result.instructions",
    ],
  },
  {
    why: PRIVATE,
    checks: of(
      "sep-2575-request-meta-client-info-optional",
      "sep-2575-server-implements-discover",
      "sep-2575-discover-capabilities-match-handlers",
      "localhost-host-valid-accepted",
      "sep-2549-.*",
    ),
    without: ["ttlMs", "cacheScope"],
  },
  {
    why: NAMES_SERVER,
    checks: of("sep-2322-.*"),
    replace: [[/"message":"fixture: /g, '"message":"']],
  },
  {
    why: SEALED,
    checks: of("sep-2322-.*", "sep-2322-respect-client-capabilities"),
    without: ["result.requestState"],
  },
  {
    why: `${AS_JSON}; the suite sees no body in a stream`,
    checks: of("localhost-host-valid-accepted"),
    runs: ["0.1/2025-11-25", "0.2/2025-11-25"],
    without: ["body"],
  },
  {
    why: AS_JSON,
    checks: of("server-accepts-multiple-post-streams"),
    without: ["contentTypes", "numSseStreams"],
  },
  { why: AS_JSON, checks: of("server-sse-streams-functional"), statuses: [["SUCCESS", "INFO"]] },
  {
    why: "the gateway waits for the answer of a server that wants to be polled, and gives it in one piece",
    checks: of("server-sse-priming-event", "server-sse-retry-field", "server-sse-disconnect-resume"),
    statuses: [DIRECTLY_WITHOUT, ["WARNING", "absent"], ["INFO", "absent"]],
  },
  { why: AS_JSON, checks: of("server-sse-content-type"), statuses: [["absent", "INFO"]] },
  {
    why: NEWER_LISTS,
    checks: of("resources-list"),
    without: ["resourceCount"],
    leaveOut: [/^"skill:/],
  },
  {
    why: `${PRIVATE}; ${ONE_PAGE}`,
    runs: ["0.2/extensions"],
    checks: of("sep-2640-.*"),
    without: ["ttlMs", "cacheScope", "pages"],
  },
  {
    why: SEALED_TASK,
    runs: ["0.2/extensions"],
    checks: of("sep-2663-result-type-task-on-create", "tasks-per-request-meta-opt-in"),
    without: ["taskId"],
  },
  {
    why: OLD_WITHOUT_EXTENSIONS,
    runs: ["0.2/extensions"],
    only: ["stateful"],
    checks: of("sep-2640-.*"),
    statuses: [["SUCCESS", "SKIPPED"]],
  },
  {
    why: OLD_WITHOUT_EXTENSIONS,
    runs: ["0.2/extensions"],
    only: ["stateful"],
    checks: of(
      "sep-2663-result-type-task-on-create",
      "sep-2663-tasks-get-.*",
      "sep-2663-tool-error-uses-completed-status",
      "sep-2663-cancel-ack-empty-result",
      "tasks-cancel-terminal-idempotent-ack",
      "tasks-extension-advertised",
      "sep-2663-tasks-methods-non-declaring",
      "tasks-per-request-meta-opt-in",
      "tasks-wire-field-renames",
      "tasks-no-early-ttl-expiry",
      "tasks-no-related-task-meta-on-inlined-result",
      "tasks-mrtr-tasks-update-resumes",
      "tasks-mrtr-partial-fulfillment",
      "sep-2663-routing-headers-accepted-on-tasks-get",
      "sep-2663-server-rejects-mismatched-mcp-name-on-tasks-get",
      "tasks-server-directed-creation-no-hint",
      "sep-2663-durable-create-strong-consistency",
      "sep-2663-mrtr-synchronous-before-task-creation",
    ),
    statuses: [["SUCCESS", "FAILURE"]],
  },
  {
    why: OLD_WITHOUT_EXTENSIONS,
    runs: ["0.2/extensions"],
    only: ["stateful"],
    checks: of("tasks-create-result-no-request-state", "tasks-get-detailed-no-request-state"),
    statuses: [DIRECTLY_WITHOUT],
  },
  {
    why: OLD_WITHOUT_EXTENSIONS,
    runs: ["0.2/extensions"],
    only: ["stateful"],
    checks: of("tasks-request-state-removal-setup"),
    statuses: [["absent", "FAILURE"]],
  },
  {
    why: OLD_WITHOUT_EXTENSIONS,
    runs: ["0.2/extensions"],
    only: ["stateful"],
    checks: of("tasks-immediate-result-shortcut"),
    without: ["resultType"],
  },
  {
    why: "a server of an earlier version has no tasks: it does slow work before it answers, and the suite does not wait for it",
    runs: ["0.2/extensions"],
    only: ["stateful"],
    checks: of("tasks-result-type-complete-on-non-task-responses"),
    statuses: [["SUCCESS", "FAILURE"]],
  },
  {
    why: OLD_SERVER,
    runs: MODERN,
    only: ["stateful"],
    checks: of("sep-2322-.*"),
    statuses: [["SUCCESS", "FAILURE"], ["SUCCESS", "WARNING"], DIRECTLY_WITHOUT],
  },
  {
    why: `${OLD_SERVER}, so what it can be asked is none of the server's business`,
    runs: MODERN,
    only: ["stateful"],
    checks: of("sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400"),
    statuses: [["SUCCESS", "FAILURE"]],
  },
  {
    why: `${OLD_SERVER}, so it refuses less`,
    runs: MODERN,
    only: ["stateful"],
    checks: of("sep-2575-http-server-error-jsonrpc-id"),
    without: ["errorResponsesObserved"],
  },
];

/** For `clients`, by the step: what it does, and with what. */
export const STEPS = [
  {
    why: OWN_CAPABILITIES,
    steps: of("connect"),
    without: ["capabilities.extensions", "capabilities.logging", "result.instructions"],
  },
  {
    why: "clients with sessions share one at a server while they need none of their own, so changed lists are not promised",
    clients: ["typescript-newest", "typescript-2025", "python-legacy"],
    steps: of("connect"),
    without: ["capabilities.prompts", "capabilities.resources"],
  },
  { why: IN_ORDER, steps: of("tools"), sorted: ["result"] },
  { why: NAMES_SERVER, steps: of("call test_elicitation"), replace: [[/"message":"fixture: /g, '"message":"']] },
  { why: NEWER_LISTS, steps: of("resources", "templates"), leaveOut: [/"uri(?:Template)?":"skill:/] },
  { why: PRIVATE, steps: of("read .*"), without: ["ttlMs", "cacheScope"] },
  { why: OWN_WORDS, steps: of("log-level", "ping"), without: ["error.message"] },
  {
    why: OLD_SERVER,
    only: ["stateful"],
    clients: ["typescript-2026", "python-auto"],
    steps: of("call test_sampling", "call test_elicitation", "call test_input_required_result_list_roots"),
    without: ["asked", "result"],
  },
  {
    why: "a question that a server of 2026-07-28 puts into its result has no progress token",
    only: ["stateless"],
    steps: of("call test_sampling", "call test_elicitation", "call test_input_required_result_list_roots"),
    without: ["params._meta"],
  },
];

/** For `servers`, by the request. */
export const SERVERS = [
  {
    why: "a result of 2026-07-28 says what it is, how long it holds and who gives it",
    ways: ["2026-07-28", "2026-07-28 at /mcp"],
    steps: /./,
    without: ["result.resultType", "result.ttlMs", "result.cacheScope", "result._meta"],
  },
  { why: IN_ORDER, steps: of("tools/list"), sorted: ["tools"] },
  {
    why: "clients that need no session of their own at a server share one there, with what it makes for the session",
    steps: of("resources/list"),
    servers: ["everything", "everything-http"],
    leaveOut: [/demo:\/\/resource\/session\//],
  },
  {
    why: "where no server offers the kind, the gateway refuses the list with the same code, and names the method",
    steps: of("prompts/list", "resources/list", "resources/templates/list"),
    servers: ["desk", "archive"],
    replace: [
      [/"message":"(?:MCP error -32601: )?[Mm]ethod not found(?:: `[^`]*`)?"/g, '"message":"method not found"'],
    ],
  },
  {
    why: "at the address of all servers others offer the kind: the list is there, and has nothing of this one",
    steps: of("prompts/list", "resources/list", "resources/templates/list"),
    servers: ["desk", "archive"],
    ways: ["2025-11-25 at /mcp", "2026-07-28 at /mcp"],
    replace: [
      [/"error":\{"code":-32601,"message":"method not found"\}/g, '"none":true'],
      [/"result":\{"(?:prompts|resources|resourceTemplates)":\[\]\}/g, '"none":true'],
    ],
  },
];

/** For the inspector in `servers`, by the method and the era that it speaks. */
export const INSPECTOR = [
  {
    why: OWN_CAPABILITIES,
    methods: of("initialize"),
    without: ["capabilities", "instructions", "protocolVersion"],
  },
  {
    why: "a result of 2026-07-28 says what it is, how long it holds and who gives it",
    eras: ["modern"],
    methods: /./,
    without: ["result.resultType", "result.ttlMs", "result.cacheScope", "result._meta"],
  },
  { why: IN_ORDER, methods: of("tools/list"), sorted: ["tools"] },
  {
    why: "the inspector leaves out what 2026-07-28 has no more",
    eras: ["modern"],
    methods: of("tools/list"),
    without: ["execution"],
  },
  {
    why: "clients that need no session of their own at a server share one there, with what it makes for the session",
    methods: of("resources/list"),
    leaveOut: [/demo:\/\/resource\/session\//],
  },
  {
    why: "the list of tools comes over the gateway's own connection, which declares no capability",
    methods: of("tools/list"),
    leaveOut: [/"name":"(?:get-roots-list|trigger-(?:elicitation|url-elicitation|sampling)[a-z-]*)"/],
  },
];
