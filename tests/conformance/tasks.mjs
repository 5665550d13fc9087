// The tasks extension of 2026-07-28 (`io.modelcontextprotocol/tasks`), which the SDK has no support for yet: tools that
// go on after their call was answered, and the methods with which a client follows them.

import { randomUUID } from "node:crypto";
import {
  MissingRequiredClientCapabilityError,
  ProtocolError,
  Server,
  acceptedContent,
  inputRequired,
} from "@modelcontextprotocol/server";
import * as z from "zod";
import { says, text, wait } from "./content.mjs";

export const TASKS = "io.modelcontextprotocol/tasks";
const INVALID_PARAMS = -32602;
const INTERNAL_ERROR = -32603;
const CAPABILITIES = "io.modelcontextprotocol/clientCapabilities";
const TTL_MS = 600_000;
const POLL_MS = 100;
const ENDED = ["completed", "failed", "cancelled"];

const tasks = new Map();

class Task {
  constructor() {
    this.id = randomUUID();
    this.status = "working";
    this.createdAt = this.lastUpdatedAt = new Date().toISOString();
    /** Open questions to the client: key to `{ request, answer }`. */
    this.questions = new Map();
    tasks.set(this.id, this);
  }

  become(status, more = {}) {
    if (ENDED.includes(this.status)) return;
    Object.assign(this, more, { status, lastUpdatedAt: new Date().toISOString() });
  }

  /** Asks the client; resolves with its answer. */
  ask(request) {
    return new Promise((answer) => {
      this.questions.set(randomUUID(), { request, answer });
      this.become("input_required");
    });
  }

  answer(responses) {
    for (const [key, response] of Object.entries(responses)) {
      const question = this.questions.get(key);
      if (!question) continue;
      this.questions.delete(key);
      if (this.questions.size === 0) this.become("working");
      question.answer(response);
    }
  }

  head() {
    const { id: taskId, status, createdAt, lastUpdatedAt } = this;
    return { taskId, status, createdAt, lastUpdatedAt, ttlMs: TTL_MS, pollIntervalMs: POLL_MS };
  }

  whole() {
    const { status, result, error } = this;
    const inputRequests = Object.fromEntries([...this.questions].map(([key, { request }]) => [key, request]));
    return {
      ...this.head(),
      ...(status === "completed" && { result }),
      ...(status === "failed" && { error }),
      ...(status === "input_required" && { inputRequests }),
    };
  }
}

const confirms = (message, properties) =>
  inputRequired.elicit({
    message,
    requestedSchema: { type: "object", properties, required: Object.keys(properties) },
  });
const CONFIRM = { confirm: { type: "boolean" } };
const userName = () => confirms("What is your name?", { name: { type: "string" } });

// What each tool does: `ask` puts a question to the client; without tasks it is absent, and the tool answers at once.
const WORK = {
  slow_compute: {
    description: "Takes its time.",
    inputSchema: z.object({ seconds: z.number().min(0).max(600).default(0), label: z.string().optional() }),
    async work({ seconds = 0, label = "" }) {
      await wait(seconds * 1000);
      return says(`Computed ${label} for ${seconds} s.`);
    },
  },
  failing_job: {
    description: "Fails, as a tool does. Only as a task.",
    inputSchema: z.object({}),
    onlyAsTask: true,
    async work() {
      await wait(1000);
      return { ...says("The job has failed."), isError: true };
    },
  },
  protocol_error_job: {
    description: "Fails, as a server does.",
    inputSchema: z.object({}),
    async work() {
      throw new ProtocolError(INTERNAL_ERROR, "The job broke.");
    },
  },
  confirm_delete: {
    description: "Asks before it deletes.",
    inputSchema: z.object({ filename: z.string() }),
    async work({ filename }, ask) {
      if (!ask) return says(`${filename} stays; nobody could be asked.`);
      const answer = await ask(confirms(`Delete ${filename}?`, CONFIRM));
      return says(answer?.content?.confirm === true ? `${filename} is deleted.` : `${filename} stays.`);
    },
  },
  multi_input: {
    description: "Asks two things at once.",
    inputSchema: z.object({}),
    async work(_given, ask) {
      if (!ask) return says("Nobody could be asked.");
      const both = await Promise.all([
        ask(confirms("First?", { name: { type: "string" }, ...CONFIRM })),
        ask(confirms("Second?", { name: { type: "string" }, ...CONFIRM })),
      ]);
      return says(both.map((answer) => answer?.content?.name).join(", "));
    },
  },
  test_tool_with_task: {
    description: "Asks for a name and goes on as a task.",
    inputSchema: z.object({}),
    onlyAsTask: true,
    /** What has to be known before there is a task. */
    first: (context) => acceptedContent(context.mcpReq.inputResponses, "user_name")?.name,
    ask: () => inputRequired({ inputRequests: { user_name: userName() } }),
    async work(_given, _ask, name) {
      return { content: [text(`The task was done for ${name}.`)] };
    },
  },
};

const knowsTasks = (context) => context.mcpReq.envelope?.[CAPABILITIES]?.extensions?.[TASKS] !== undefined;

function needTasks(context) {
  if (knowsTasks(context)) return;
  throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { extensions: { [TASKS]: {} } } });
}

function begin(job, given, first) {
  const task = new Task();
  const ask = (request) => task.ask(request);
  job.work(given, ask, first).then(
    (result) => task.become("completed", { result }),
    ({ code = INTERNAL_ERROR, message }) => task.become("failed", { error: { code, message } }),
  );
  return { resultType: "task", ...task.head() };
}

/** A server whose `tools/call` may answer with a task. */
export class TaskServer extends Server {
  _wrapHandler(method, handler) {
    const wrapped = super._wrapHandler(method, handler);
    if (method !== "tools/call") return wrapped;
    return async (request, context) => {
      const job = Object.hasOwn(WORK, request.params.name) ? WORK[request.params.name] : undefined;
      if (job?.onlyAsTask) needTasks(context);
      if (!job || !knowsTasks(context)) return wrapped(request, context);
      const first = job.first?.(context);
      if (job.first && first === undefined) return wrapped(request, context);
      const given = job.inputSchema.safeParse(request.params.arguments ?? {});
      if (!given.success) throw new ProtocolError(INVALID_PARAMS, given.error.message);
      return begin(job, given.data, first);
    };
  }
}

/** Adds the tools and, for `era` "modern", the methods. */
export function addTasks(mcp, era) {
  mcp.registerTool(
    "greet",
    { description: "Greets.", inputSchema: z.object({ name: z.string() }) },
    async ({ name }) => says(`Hello, ${name}!`),
  );
  for (const [name, { description, inputSchema, work, ask }] of Object.entries(WORK)) {
    mcp.registerTool(name, { description, inputSchema }, async (given) => (ask ? ask() : work(given)));
  }
  if (era !== "modern") return;

  const params = z.looseObject({ taskId: z.string() });
  const method = (name, answer) =>
    mcp.server.setRequestHandler(name, { params }, async ({ taskId }, context) => {
      needTasks(context);
      const task = tasks.get(taskId);
      if (!task) throw new ProtocolError(INVALID_PARAMS, "There is no such task", { taskId });
      return answer(task, context);
    });
  method("tasks/get", (task) => task.whole());
  method("tasks/update", (task, context) => {
    task.answer(context.mcpReq.inputResponses ?? {});
    return {};
  });
  method("tasks/cancel", (task) => {
    task.become("cancelled");
    return {};
  });
}
