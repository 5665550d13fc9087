"""A whole session with an MCP server, driven step by step, with the official `mcp` package.

stdin:  {"url": …, "headers": {…}, "mode": "auto" | "legacy", "sampling": text, "elicitation": {…}, "roots": […],
         "steps": [{"do": …}]}
stdout: a line of JSON a step, {"do", "ok": true, "result"} or {"do", "ok": false, "error"}, the first for connecting.

The steps, and what a line has beside its result, are told in session.mjs.
"""

import asyncio
import hashlib
import json
import sys
import time
import warnings
from contextlib import AsyncExitStack

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

# A busy machine is not what is tested.
SECONDS = 180.0
MANY = 1000

# What 2026-07-28 has taken away is asked for, too.
warnings.simplefilter("ignore")


class Cancelled(Exception):
    pass


def plain(model) -> dict:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def brief(value):
    """The value with its long texts told by length and digest."""
    if isinstance(value, str) and len(value) > 200:
        return {"letters": len(value), "sha256": hashlib.sha256(value.encode()).hexdigest()}
    if isinstance(value, list):
        return [brief(inner) for inner in value]
    if isinstance(value, dict):
        return {key: brief(inner) for key, inner in value.items()}
    return value


def causes(error: BaseException):
    """The errors inside the groups in which concurrent parts fail together."""
    for inner in getattr(error, "exceptions", ()):
        yield from causes(inner)
    if not hasattr(error, "exceptions"):
        yield error


def told(error: Exception) -> dict:
    error = next(causes(error))
    if isinstance(error, MCPError):
        found = {"name": "MCPError", "code": error.error.code, "message": error.error.message, "data": error.error.data}
        return {key: value for key, value in found.items() if value is not None}
    return {"name": type(error).__name__, "message": str(error)}


class Session:
    def __init__(self, plan: dict):
        self.plan = plan
        self.during: dict[str, list] = {}
        self.notifications: list[dict] = []
        self.came = asyncio.Event()
        self.client: Client | None = None
        self.listening: dict[str, AsyncExitStack] = {}

    def note(self, key: str, value) -> None:
        self.during.setdefault(key, []).append(value)

    # ---- what the server wants of this client ----

    def asked(self, method: str, params) -> None:
        self.note("asked", {"method": method, "params": plain(params) if params else {}})

    async def sample(self, _context, params):
        self.asked("sampling/createMessage", params)
        content = types.TextContent(type="text", text=self.plan["sampling"])
        return types.CreateMessageResult(role="assistant", content=content, model="none", stop_reason="endTurn")

    async def elicit(self, _context, params):
        self.asked("elicitation/create", params)
        return types.ElicitResult.model_validate(self.plan["elicitation"])

    async def list_roots(self, _context):
        self.asked("roots/list", None)
        return types.ListRootsResult.model_validate({"roots": self.plan["roots"]})

    def callbacks(self) -> dict:
        wanted = {
            "sampling_callback": ("sampling", self.sample),
            "elicitation_callback": ("elicitation", self.elicit),
            "list_roots_callback": ("roots", self.list_roots),
        }
        return {name: answer for name, (key, answer) in wanted.items() if key in self.plan}

    async def heard(self, message) -> None:
        if isinstance(message, Exception):
            self.note("problems", repr(message))
            return
        notification = plain(getattr(message, "root", message))
        self.tell(notification["method"], notification.get("params", {}))

    def tell(self, method: str, params: dict) -> None:
        self.notifications.append({"method": method, "params": params})
        self.came.set()

    # ---- steps ----

    async def pages(self, ask, key: str) -> list:
        found, cursor = [], None
        for _page in range(MANY):
            answer = plain(await ask(cursor=cursor, cache_mode="bypass"))
            found += answer[key]
            cursor = answer.get("nextCursor")
            if cursor is None:
                return found
        raise RuntimeError("the list does not end")

    async def tools(self, _step):
        return await self.pages(self.client.list_tools, "tools")

    async def prompts(self, _step):
        return await self.pages(self.client.list_prompts, "prompts")

    async def resources(self, _step):
        return await self.pages(self.client.list_resources, "resources")

    async def templates(self, _step):
        return await self.pages(self.client.list_resource_templates, "resourceTemplates")

    async def call(self, step):
        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            self.note("progress", {"progress": progress, "total": total, "message": message})

        patience = step.get("cancel_after")
        callback = progressed if step.get("progress") else None
        with anyio.move_on_after(None if patience is None else patience / 1000):
            return plain(await self.client.call_tool(step["name"], step.get("arguments"), progress_callback=callback))
        raise Cancelled("cancelled by the test")

    async def prompt(self, step):
        return plain(await self.client.get_prompt(step["name"], step.get("arguments")))

    async def read(self, step):
        return plain(await self.client.read_resource(step["uri"], cache_mode="bypass"))

    async def subscribe(self, step):
        uri = step["uri"]
        if self.client.protocol_version < "2026":
            return plain(await self.client.subscribe_resource(uri))
        stack = AsyncExitStack()
        opened = self.client.listen(tools_list_changed=True, prompts_list_changed=True, resource_subscriptions=[uri])
        subscription = await stack.enter_async_context(opened)
        follower = asyncio.ensure_future(self.follow(subscription))
        stack.callback(follower.cancel)
        self.listening[uri] = stack
        return plain(subscription.honored)

    async def follow(self, subscription) -> None:
        names = {
            "ToolsListChanged": "notifications/tools/list_changed",
            "PromptsListChanged": "notifications/prompts/list_changed",
            "ResourcesListChanged": "notifications/resources/list_changed",
            "ResourceUpdated": "notifications/resources/updated",
        }
        async for event in subscription:
            uri = getattr(event, "uri", None)
            self.tell(names[type(event).__name__], {} if uri is None else {"uri": str(uri)})

    async def unsubscribe(self, step):
        stack = self.listening.pop(step["uri"], None)
        if stack is None:
            return plain(await self.client.unsubscribe_resource(step["uri"]))
        await stack.aclose()
        return {}

    async def wait(self, step):
        end = time.monotonic() + step.get("seconds", 10)
        while True:
            for at, notification in enumerate(self.notifications):
                if notification["method"] == step["for"]:
                    return self.notifications.pop(at)["params"]
            self.came.clear()
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no {step['for']} came")
            with anyio.move_on_after(left):
                await self.came.wait()

    async def pause(self, step):
        await asyncio.sleep(step["seconds"])

    async def complete(self, step):
        kinds = {"ref/prompt": types.PromptReference, "ref/resource": types.ResourceTemplateReference}
        ref = kinds[step["ref"]["type"]].model_validate(step["ref"])
        return plain(await self.client.complete(ref, step["argument"]))

    async def log_level(self, step):
        return plain(await self.client.set_logging_level(step["level"]))

    async def ping(self, _step):
        return plain(await self.client.send_ping())

    STEPS = {
        "tools": tools,
        "call": call,
        "prompts": prompts,
        "prompt": prompt,
        "resources": resources,
        "templates": templates,
        "read": read,
        "subscribe": subscribe,
        "unsubscribe": unsubscribe,
        "wait": wait,
        "pause": pause,
        "complete": complete,
        "log-level": log_level,
        "ping": ping,
    }

    async def step(self, name: str, work) -> bool:
        """Carries a step out, and says how it went."""
        self.during = {}
        try:
            line = {"do": name, "ok": True, "result": await work() or {}}
        except Exception as error:  # What went wrong is the result.
            line = {"do": name, "ok": False, "error": told(error)}
        print(json.dumps(brief({**line, **self.during})), flush=True)
        return line["ok"]

    async def refused(self, response: httpx2.Response) -> None:
        # Without a stream of its own a server answers 405 to a GET.
        if response.status_code >= 400 and response.request.method != "GET":
            self.note("http", response.status_code)

    async def run(self) -> None:
        stack = AsyncExitStack()

        async def connect() -> dict:
            # No proxy from the environment: the server is on this host.
            http = await stack.enter_async_context(
                httpx2.AsyncClient(
                    headers=self.plan.get("headers", {}),
                    timeout=SECONDS,
                    trust_env=False,
                    event_hooks={"response": [self.refused]},
                )
            )
            client = Client(
                streamable_http_client(self.plan["url"], http_client=http),
                mode=self.plan["mode"],
                read_timeout_seconds=SECONDS,
                message_handler=self.heard,
                **self.callbacks(),
            )
            self.client = await stack.enter_async_context(client)
            return {
                "protocol": client.protocol_version,
                "server": plain(client.server_info) if client.server_info else None,
                "capabilities": plain(client.server_capabilities),
                "instructions": client.instructions,
            }

        if not await self.step("connect", connect):
            await stack.aclose()
            return
        steps = self.plan["steps"]
        for each in [each for each in steps if each["do"] != "end"]:

            async def work(each=each):
                return await self.STEPS[each["do"]](self, each)

            await self.step(each["do"], work)
        for opened in self.listening.values():
            await opened.aclose()
        # The package ends the session when the client is closed.
        if any(each["do"] == "end" for each in steps):
            await self.step("end", stack.aclose)
        else:
            await stack.aclose()


asyncio.run(Session(json.load(sys.stdin)).run())
