"""Runs one of the Python reference servers over streamable HTTP, on a free port of the loopback interface.

The packages themselves speak on standard input and output alone; this takes the same server object.

    python-http.py time | git REPOSITORY

stdout: one line, {"port": ...}, once it listens. It ends when its standard input does, so that it never outlives its test.
"""

import json
import os
import pathlib
import socket
import sys
import threading

import uvicorn


def server(name, given):
    if name == "time":
        import mcp_server_time.server as module

        return module.create_server("Asia/Tokyo")
    if name == "git":
        import mcp_server_git.server as module

        return module.create_server(pathlib.Path(given[0]))
    raise SystemExit(f"no such server: {name}")


def end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)


app = server(sys.argv[1], sys.argv[2:]).streamable_http_app()
listening = socket.create_server(("127.0.0.1", 0))
print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
threading.Thread(target=end_with_input, daemon=True).start()
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
