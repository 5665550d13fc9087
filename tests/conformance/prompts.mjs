// The fixture's prompts and resources, with completion and subscription.

import { ProtocolError, ResourceTemplate, completable } from "@modelcontextprotocol/server";
import * as z from "zod";
import { PNG, image, text } from "./content.mjs";

const user = (content) => ({ role: "user", content });
const WORDS = ["paris", "park", "party", "test", "testing"];
const INVALID_PARAMS = -32602;

/** Adds the prompts to `mcp`. Returns the one that comes and goes. */
export function addPrompts(mcp, world) {
  mcp.registerPrompt("test_simple_prompt", { description: "One message." }, async () => ({
    messages: [user(text("This is a simple prompt for testing."))],
  }));
  mcp.registerPrompt(
    "test_prompt_with_arguments",
    {
      title: "With arguments",
      description: "Says its arguments.",
      argsSchema: z.object({
        arg1: completable(z.string().describe("First test argument"), (begun) =>
          WORDS.filter((word) => word.startsWith(begun)),
        ),
        arg2: z.string().describe("Second test argument"),
      }),
    },
    async ({ arg1, arg2 }) => ({ messages: [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))] }),
  );
  mcp.registerPrompt(
    "test_prompt_with_embedded_resource",
    {
      description: "Brings a resource along.",
      argsSchema: z.object({ resourceUri: z.string().describe("What to bring") }),
    },
    async ({ resourceUri }) => ({
      messages: [
        user({
          type: "resource",
          resource: { uri: resourceUri, mimeType: "text/plain", text: "Embedded resource content for testing." },
        }),
        user(text("Please process the embedded resource above.")),
      ],
    }),
  );
  mcp.registerPrompt("test_prompt_with_image", { description: "Brings an image along." }, async () => ({
    messages: [user(image()), user(text("Please analyze the image above."))],
  }));
  const extra = mcp.registerPrompt(
    "test_extra_prompt",
    { description: "Is there, and then it is not." },
    async () => ({
      messages: [user(text("I am here."))],
    }),
  );
  if (!world.extraPrompt) extra.disable();
  return extra;
}

/** Adds the resources to `mcp`. */
export function addResources(mcp) {
  mcp.registerResource(
    "static-text",
    "test://static-text",
    { title: "Static text", description: "A text.", mimeType: "text/plain" },
    async (uri) => ({
      contents: [
        { uri: uri.href, mimeType: "text/plain", text: "This is the content of the static text resource." },
      ],
    }),
  );
  mcp.registerResource(
    "static-binary",
    "test://static-binary",
    { description: "An image.", mimeType: "image/png" },
    async (uri) => ({ contents: [{ uri: uri.href, mimeType: "image/png", blob: PNG }] }),
  );
  mcp.registerResource(
    "watched-resource",
    "test://watched-resource",
    { description: "One that can be watched.", mimeType: "text/plain" },
    async (uri) => ({ contents: [{ uri: uri.href, mimeType: "text/plain", text: "Nothing new." }] }),
  );
  mcp.registerResource(
    "template",
    new ResourceTemplate("test://template/{id}/data", {
      list: undefined,
      complete: { id: (begun) => ["123", "124", "200"].filter((id) => id.startsWith(begun)) },
    }),
    { description: "Data by number.", mimeType: "application/json" },
    async (uri, { id }) => ({
      contents: [
        {
          uri: uri.href,
          mimeType: "application/json",
          text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }),
        },
      ],
    }),
  );
}

/** Subscription as it was before 2026-07-28: `watched` has the addresses that this session asked for. */
export function addSubscription(mcp, watched) {
  mcp.server.setRequestHandler("resources/subscribe", ({ params }) => {
    if (!URL.canParse(params.uri)) throw new ProtocolError(INVALID_PARAMS, "uri is no address");
    watched.add(params.uri);
    return {};
  });
  mcp.server.setRequestHandler("resources/unsubscribe", ({ params }) => {
    watched.delete(params.uri);
    return {};
  });
}
