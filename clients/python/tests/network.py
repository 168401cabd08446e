"""Networks between a client and a host: one that loses answers, and one that leads elsewhere.

Owns sockets on the loopback. Must never know what a client does about it.
"""

from __future__ import annotations

import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


class _Place:
    """A server on a free port, for as long as a block lasts."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Any:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class Forgetful(_Place):
    """Hands requests on to a host, and loses the first answers after the host has given them."""

    def __init__(self, host: str, lost: int) -> None:
        place = self
        self.answers = 0
        self.task_ids: set[str] = set()
        self.sent = b""
        address = urlsplit(host)

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                head = [self.requestline] + [
                    f"{name}: {value}" for name, value in self.headers.items() if name.lower() != "connection"
                ]
                request = "\r\n".join([*head, "Connection: close", "", ""]).encode("latin-1") + body
                place.sent += request
                with socket.create_connection((address.hostname or "", address.port or 80), timeout=60) as host:
                    host.sendall(request)
                    answer = b"".join(iter(lambda: host.recv(65536), b""))
                place.answers += 1
                place.task_ids.update(found.decode() for found in re.findall(rb'"task_id":\s*"(\w+)"', answer))
                if place.answers > lost:
                    self.wfile.write(answer)
                self.close_connection = True

            do_POST = do_DELETE = do_GET

        super().__init__(Handler)


class Stranger(_Place):
    """Answers everything with a page of its own, as a proxy does whose host is away."""

    def __init__(self, status: int) -> None:
        place = self
        self.requests = 0

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                place.requests += 1
                self.send_response(status)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<h1>Not what was asked for</h1>")

            do_POST = do_DELETE = do_GET

        super().__init__(Handler)
