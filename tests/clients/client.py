"""Lists and calls tools through a gateway with the official `mcp` package, and prints what came back.

stdin:  {"url": …, "key": …, "mode": "auto" | "legacy", "calls": [{"name": …, "arguments": {…}}]}
stdout: {"protocol": …, "server": …, "tools": {name: input schema}, "calls": [outcome]}

An outcome is what a program that uses the package sees: {"result": {…}} or {"error": {…}}.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

# A busy machine is not what is tested.
SECONDS = 180.0


async def call(client: Client, name: str, arguments: dict) -> dict:
    try:
        result = await client.call_tool(name, arguments)
    except MCPError as error:
        return {"error": {"code": error.error.code, "message": error.error.message, "data": error.error.data}}
    return {"result": result.model_dump(mode="json", by_alias=True, exclude_none=True)}


async def tell_refusals(response: httpx2.Response) -> None:
    if response.status_code in (401, 403):
        print(f"HTTP {response.status_code}", file=sys.stderr)


async def tools(client: Client) -> dict:
    found, cursor = {}, None
    while True:
        page = await client.list_tools(cursor=cursor)
        found.update((tool.name, tool.input_schema) for tool in page.tools)
        cursor = page.next_cursor
        if cursor is None:
            return found


async def main(plan: dict) -> dict:
    headers = {"X-API-Key": plan["key"]}
    # No proxy from the environment: the gateway is on this host.
    async with httpx2.AsyncClient(
        headers=headers, timeout=SECONDS, trust_env=False, event_hooks={"response": [tell_refusals]}
    ) as http:
        transport = streamable_http_client(plan["url"], http_client=http)
        async with Client(transport, mode=plan["mode"], read_timeout_seconds=SECONDS) as client:
            return {
                "protocol": client.protocol_version,
                "server": client.server_info.name if client.server_info else None,
                "tools": await tools(client),
                "calls": [await call(client, each["name"], each["arguments"]) for each in plan["calls"]],
            }


def causes(error: BaseException):
    """The errors inside the groups in which concurrent parts fail together."""
    for inner in getattr(error, "exceptions", ()):
        yield from causes(inner)
    if not hasattr(error, "exceptions"):
        yield error


try:
    print(json.dumps(asyncio.run(main(json.load(sys.stdin)))))
except Exception as error:
    sys.exit("\n".join(repr(cause) for cause in causes(error)))
