// The fixture's tools that answer in one round: every kind of content, notifications on the way, changes, cancelling.

import { setTimeout as sleep } from "node:timers/promises";
import { fromJsonSchema, inputRequired } from "@modelcontextprotocol/server";
import * as z from "zod";
import { WAV, image, says, text, wait } from "./content.mjs";

const NO_ARGUMENTS = z.object({});

/** What the suite wants to see unchanged in `tools/list`. */
const SCHEMA_2020_12 = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: {
    address: {
      $anchor: "addressDef",
      type: "object",
      properties: { street: { type: "string" }, city: { type: "string" } },
    },
  },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" },
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

const HEADER_SCHEMA = {
  type: "object",
  properties: {
    region: { type: "string", "x-mcp-header": "Region" },
    query: { type: "string" },
  },
  required: ["region"],
};

/** Calls that the client took back, by the label that it gave them. */
const cancelled = [];

/** Adds the tools to `mcp`; `world` is what the whole fixture shares. Returns the tool that comes and goes. */
export function addTools(mcp, world) {
  const add = (name, description, inputSchema, call) => mcp.registerTool(name, { description, inputSchema }, call);

  // The suite calls the first tool of the list without arguments.
  add("test_simple_text", "Returns one text.", NO_ARGUMENTS, async () =>
    says("This is a simple text response for testing."),
  );
  add("test_image_content", "Returns an image.", NO_ARGUMENTS, async () => ({ content: [image()] }));
  add("test_audio_content", "Returns audio.", NO_ARGUMENTS, async () => ({
    content: [{ type: "audio", data: WAV, mimeType: "audio/wav" }],
  }));
  add("test_embedded_resource", "Returns an embedded resource.", NO_ARGUMENTS, async () => ({
    content: [
      {
        type: "resource",
        resource: {
          uri: "test://embedded-resource",
          mimeType: "text/plain",
          text: "This is an embedded resource content.",
        },
      },
    ],
  }));
  add("test_multiple_content_types", "Returns text, an image and a resource.", NO_ARGUMENTS, async () => ({
    content: [
      text("Multiple content types test:"),
      image(),
      {
        type: "resource",
        resource: {
          uri: "test://mixed-content-resource",
          mimeType: "application/json",
          text: JSON.stringify({ test: "data", value: 123 }),
        },
      },
    ],
  }));
  add("test_resource_link", "Returns a link to a resource.", NO_ARGUMENTS, async () => ({
    content: [
      {
        type: "resource_link",
        uri: "test://static-text",
        name: "static-text",
        mimeType: "text/plain",
        description: "A text.",
      },
    ],
  }));
  add(
    "test_big_text",
    "Returns as many letters as asked for.",
    z.object({ bytes: z.number().int().min(0) }),
    async (given) => says("x".repeat(given.bytes)),
  );
  mcp.registerTool(
    "test_structured_content",
    {
      title: "Structured",
      description: "Returns structured content and the same as text.",
      inputSchema: z.object({ city: z.string() }),
      outputSchema: z.object({ city: z.string(), temperature: z.number(), tags: z.array(z.string()) }),
      annotations: { readOnlyHint: true, openWorldHint: false },
      _meta: { "example.test/kept": { as: ["it", "is"] } },
    },
    async ({ city }) => {
      const structuredContent = { city, temperature: 21.5, tags: ["dry"] };
      return {
        content: [text(JSON.stringify(structuredContent))],
        structuredContent,
        _meta: { "example.test/result": { unit: "celsius" } },
      };
    },
  );
  add("test_error_handling", "Always fails.", NO_ARGUMENTS, async () => ({
    ...says("This tool intentionally returns an error for testing"),
    isError: true,
  }));
  mcp.registerTool(
    "json_schema_2020_12_tool",
    { description: "Has an input schema with the words of 2020-12.", inputSchema: fromJsonSchema(SCHEMA_2020_12) },
    async () => says("accepted"),
  );
  mcp.registerTool(
    "test_custom_headers",
    { description: "Has an argument that is sent as a header, too.", inputSchema: fromJsonSchema(HEADER_SCHEMA) },
    async ({ region }) => says(`region ${region}`),
  );

  add("test_tool_with_logging", "Logs three times.", NO_ARGUMENTS, async (_given, context) => {
    for (const [words, pause] of [
      ["Tool execution started", 50],
      ["Tool processing data", 50],
      ["Tool execution completed", 0],
    ]) {
      await context.mcpReq.log("info", words);
      await wait(pause);
    }
    return says("Logged three times.");
  });
  add("test_logging_tool", "Logs once, if the client wants it.", NO_ARGUMENTS, async (_given, context) => {
    await context.mcpReq.log("info", "Only for those who asked");
    return says("Logged.");
  });
  add("test_tool_with_progress", "Tells its progress three times.", NO_ARGUMENTS, async (_given, context) => {
    const token = context.mcpReq._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      if (token !== undefined) await progressed(context, token, progress);
      if (progress < 100) await wait(50);
    }
    return says("Progress was told.");
  });
  add(
    "test_reconnection",
    "Ends the stream in the middle; the answer comes to who reconnects.",
    NO_ARGUMENTS,
    async (_given, context) => {
      context.http?.closeSSE?.();
      await wait(100);
      return says("The answer came after the stream had ended.");
    },
  );
  add(
    "test_slow",
    "Answers after some time, unless it is cancelled.",
    z.object({ seconds: z.number().min(0).max(600), label: z.string().optional() }),
    async ({ seconds, label }, context) => {
      const token = context.mcpReq._meta?.progressToken;
      if (token !== undefined) await progressed(context, token, 0);
      try {
        await sleep(seconds * 1000, undefined, { signal: context.mcpReq.signal });
      } catch (error) {
        if (!context.mcpReq.signal.aborted) throw error;
        cancelled.push(label ?? "");
      }
      return says("It took its time.");
    },
  );
  add("test_cancelled", "The labels of the calls of `test_slow` that were cancelled.", NO_ARGUMENTS, async () => ({
    content: [text(JSON.stringify(cancelled))],
  }));

  add("test_missing_capability", "Needs sampling of the client.", NO_ARGUMENTS, async () =>
    inputRequired({
      inputRequests: {
        needed: inputRequired.createMessage({
          messages: [{ role: "user", content: text("Hello?") }],
          maxTokens: 10,
        }),
      },
    }),
  );
  add("test_streaming_elicitation", "Tells its progress and asks.", NO_ARGUMENTS, async (_given, context) => {
    await progressed(context, context.mcpReq._meta?.progressToken ?? "streaming-elicitation", 1);
    return inputRequired({
      inputRequests: {
        answer: inputRequired.elicit({
          message: "Go on?",
          requestedSchema: { type: "object", properties: { go: { type: "boolean" } }, required: ["go"] },
        }),
      },
    });
  });

  add("test_trigger_tool_change", "Adds a tool, or takes it away again.", NO_ARGUMENTS, async () => {
    world.changeTools();
    return says("The list of tools has changed.");
  });
  add("test_trigger_prompt_change", "Adds a prompt, or takes it away again.", NO_ARGUMENTS, async () => {
    world.changePrompts();
    return says("The list of prompts has changed.");
  });
  add(
    "test_trigger_resource_update",
    "Tells those who subscribed to it that a resource has changed.",
    z.object({ uri: z.string() }),
    async ({ uri }) => {
      world.changeResource(uri);
      return says(`${uri} has changed.`);
    },
  );
  const extra = add("test_extra_tool", "Is there, and then it is not.", NO_ARGUMENTS, async () =>
    says("I am here."),
  );
  if (!world.extraTool) extra.disable();
  return extra;
}

function progressed(context, progressToken, progress) {
  return context.mcpReq.notify({
    method: "notifications/progress",
    params: { progressToken, progress, total: 100, message: `${progress} of 100` },
  });
}
