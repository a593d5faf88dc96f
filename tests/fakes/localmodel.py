"""A process in place of the local language model's: repeats what it is asked, ends when its input does.

Run as a script with what it is to do: `serve`, `die` while loading, `mumble` instead of an address, `deaf` without an
answer to anything.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ASKED: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    """One request."""

    key = ""
    deaf = False

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """`/health`; `/asked` lists the questions."""
        if self.path == "/asked":
            self._send(200, json.dumps(ASKED).encode())
        else:
            self._send(503 if self.deaf else 200, b"{}")

    def do_POST(self) -> None:
        """A chat."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {self.key}":
            self._send(401, b"wrong key")
            return
        ASKED.append(body)
        text = body["messages"][-1]["content"]
        if text.startswith("crash"):
            os._exit(7)
        if text.startswith("go deaf"):
            type(self).deaf = True
        part = {"role": "assistant", "content": f"You said {text}"}
        if body["stream"]:
            self._send(
                200, b"data: " + json.dumps({"choices": [{"delta": part}]}).encode() + b"\n\n", "text/event-stream"
            )
        else:
            self._send(200, json.dumps({"choices": [{"message": part}]}).encode())

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(what: str) -> None:
    """Do as the local model's process does."""
    facts = json.loads(sys.stdin.readline())
    if what == "die":
        sys.exit(3)
    if what == "mumble":
        print("{}", flush=True)
    else:
        import threading

        Handler.key, Handler.deaf = facts["key"], what == "deaf"
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(json.dumps({"address": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
