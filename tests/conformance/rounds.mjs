// The fixture's tools and prompt that ask the client for something before they answer, in both generations:
// from 2026-07-28 on with `input_required`, before it with a request on the open stream.

import { ProtocolError, acceptedContent, inputRequired, inputResponse } from "@modelcontextprotocol/server";
import * as z from "zod";
import { says, text } from "./content.mjs";

const NO_ARGUMENTS = z.object({});
const INVALID_PARAMS = -32602;

const asks = (message, properties, required = Object.keys(properties)) =>
  inputRequired.elicit({ message, requestedSchema: { type: "object", properties, required } });
const asksName = () => asks("What is your name?", { name: { type: "string" } });
const samples = (words, maxTokens = 100) =>
  inputRequired.createMessage({ messages: [{ role: "user", content: text(words) }], maxTokens });

/** The answers to elicitations, by key, or `undefined` while one is missing. */
function answers(context, keys) {
  const found = {};
  for (const key of keys) {
    const answer = inputResponse(context.mcpReq.inputResponses, key);
    if (answer.kind === "missing") return undefined;
    found[key] = answer;
  }
  return found;
}

function told(answer) {
  const { action, content } = answer;
  return `action=${action}, content=${JSON.stringify(content ?? {})}`;
}

const DEFAULTS = {
  name: { type: "string", description: "Name", default: "John Doe" },
  age: { type: "integer", description: "Age", default: 30 },
  score: { type: "number", description: "Score", default: 95.5 },
  status: { type: "string", description: "Status", enum: ["active", "inactive", "pending"], default: "active" },
  verified: { type: "boolean", description: "Verified", default: true },
};

const titled = (words) => words.map((title, at) => ({ const: `value${at + 1}`, title }));
const OPTIONS = ["option1", "option2", "option3"];
const ENUMS = {
  untitledSingle: { type: "string", enum: OPTIONS },
  titledSingle: { type: "string", oneOf: titled(["First Option", "Second Option", "Third Option"]) },
  legacyEnum: {
    type: "string",
    enum: ["opt1", "opt2", "opt3"],
    enumNames: ["Option One", "Option Two", "Option Three"],
  },
  untitledMulti: { type: "array", items: { type: "string", enum: OPTIONS } },
  titledMulti: { type: "array", items: { anyOf: titled(["First Choice", "Second Choice", "Third Choice"]) } },
};

/** Adds the tools and the prompt to `mcp`; `states` seals what the client has to bring back. */
export function addRounds(mcp, states) {
  const add = (name, description, inputSchema, call) => mcp.registerTool(name, { description, inputSchema }, call);
  const asking = (name, description, schema, message, properties, required) =>
    add(name, description, schema, async (given, context) => {
      const found = answers(context, ["answer"]);
      if (!found) return inputRequired({ inputRequests: { answer: asks(message(given), properties, required) } });
      return says(`Elicitation completed: ${told(found.answer)}`);
    });

  add(
    "test_sampling",
    "Asks the client's model.",
    z.object({ prompt: z.string() }),
    async ({ prompt }, context) => {
      const found = answers(context, ["sample"]);
      if (!found) return inputRequired({ inputRequests: { sample: samples(prompt) } });
      return says(`LLM response: ${sampled(found.sample)}`);
    },
  );
  asking(
    "test_elicitation",
    "Asks the client's user.",
    z.object({ message: z.string() }),
    ({ message }) => message,
    {
      username: { type: "string", description: "User's response" },
      email: { type: "string", description: "User's email address" },
    },
  );
  asking(
    "test_elicitation_sep1034_defaults",
    "Asks, with defaults.",
    NO_ARGUMENTS,
    () => "Please check",
    DEFAULTS,
    [],
  );
  asking(
    "test_elicitation_sep1330_enums",
    "Asks, with choices of every kind.",
    NO_ARGUMENTS,
    () => "Please choose",
    ENUMS,
    [],
  );

  add("test_input_required_result_elicitation", "Asks for a name.", NO_ARGUMENTS, async (_given, context) => {
    const content = acceptedContent(context.mcpReq.inputResponses, "user_name");
    if (typeof content?.name !== "string") return inputRequired({ inputRequests: { user_name: asksName() } });
    return says(`Hello, ${content.name}!`);
  });
  add(
    "test_input_required_result_sampling",
    "Asks the model for a capital.",
    NO_ARGUMENTS,
    async (_given, context) => {
      const found = answers(context, ["capital_question"]);
      if (!found) {
        return inputRequired({ inputRequests: { capital_question: samples("What is the capital of France?") } });
      }
      return says(sampled(found.capital_question));
    },
  );
  add("test_input_required_result_list_roots", "Asks for the roots.", NO_ARGUMENTS, async (_given, context) => {
    const found = answers(context, ["client_roots"]);
    if (!found) return inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } });
    return says(`Roots: ${JSON.stringify(context.mcpReq.inputResponses.client_roots.roots)}`);
  });
  add(
    "test_input_required_result_request_state",
    "Asks, and wants its state back.",
    NO_ARGUMENTS,
    async (_given, context) => {
      const state = context.mcpReq.requestState();
      if (answers(context, ["confirm"]) && state?.step === "confirm") return says("state-ok");
      return inputRequired({
        inputRequests: { confirm: asks("Please confirm", { ok: { type: "boolean" } }) },
        requestState: await states.mint({ step: "confirm" }),
      });
    },
  );
  add(
    "test_input_required_result_tampered_state",
    "Refuses a state that is not its own.",
    NO_ARGUMENTS,
    async (_given, context) => {
      const state = context.mcpReq.requestState();
      if (answers(context, ["confirm"]) && state?.step === "tampered") return says("The state is whole.");
      return inputRequired({
        inputRequests: { confirm: asks("Please confirm", { ok: { type: "boolean" } }) },
        requestState: await states.mint({ step: "tampered" }),
      });
    },
  );
  add(
    "test_input_required_result_multiple_inputs",
    "Asks for three things at once.",
    NO_ARGUMENTS,
    async (_given, context) => {
      const found = answers(context, ["user_name", "greeting", "client_roots"]);
      if (found && context.mcpReq.requestState()?.step === "three") return says("All three are here.");
      return inputRequired({
        inputRequests: {
          user_name: asksName(),
          greeting: samples("Generate a greeting", 50),
          client_roots: inputRequired.listRoots(),
        },
        requestState: await states.mint({ step: "three" }),
      });
    },
  );
  add(
    "test_input_required_result_multi_round",
    "Asks twice, one after the other.",
    NO_ARGUMENTS,
    async (_given, context) => {
      const state = context.mcpReq.requestState();
      const { inputResponses } = context.mcpReq;
      if (state?.step === 2 && inputResponses?.step2) {
        return says(`${state.name} likes ${acceptedContent(inputResponses, "step2")?.color}.`);
      }
      const name = acceptedContent(inputResponses, "step1")?.name;
      if (state?.step === 1 && name !== undefined) {
        return inputRequired({
          inputRequests: { step2: asks("Step 2: What is your favorite color?", { color: { type: "string" } }) },
          requestState: await states.mint({ step: 2, name }),
        });
      }
      return inputRequired({
        inputRequests: { step1: asks("Step 1: What is your name?", { name: { type: "string" } }) },
        requestState: await states.mint({ step: 1 }),
      });
    },
  );
  add(
    "test_input_required_result_capabilities",
    "Asks only for what the client can do.",
    NO_ARGUMENTS,
    async (_given, context) => {
      const can = mcp.server.getClientCapabilities() ?? {};
      const wanted = {
        ...(can.sampling && { greeting: samples("Generate a greeting", 50) }),
        ...(can.elicitation && { user_name: asksName() }),
        ...(can.roots && { client_roots: inputRequired.listRoots() }),
      };
      if (Object.keys(wanted).length === 0 || answers(context, Object.keys(wanted)))
        return says("Nothing is missing.");
      return inputRequired({ inputRequests: wanted });
    },
  );

  mcp.registerPrompt(
    "test_input_required_result_prompt",
    { description: "A prompt that asks for its context first." },
    async (context) => {
      const content = acceptedContent(context.mcpReq.inputResponses, "user_context");
      if (typeof content?.context !== "string") {
        return inputRequired({
          inputRequests: {
            user_context: asks("What context should the prompt use?", { context: { type: "string" } }),
          },
        });
      }
      return { messages: [{ role: "user", content: text(`The context is ${content.context}.`) }] };
    },
  );
}

function sampled(answer) {
  if (answer.kind !== "sampling") throw new ProtocolError(INVALID_PARAMS, "an answer of a model is wanted");
  const { content } = answer.result;
  return Array.isArray(content) ? content.map((part) => part.text).join("") : content.text;
}
