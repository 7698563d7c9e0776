"""The HTTP server under our fakes of Google's REST services."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

S = TypeVar("S", bound="Serving")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a client that finds it full tries again after seconds

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Serving:
    """A service of this machine, from `with` on: what it is asked goes to a handler, whose `service` it is.

    port 0: one that is free; url: where it answers, under this name of the machine.
    """

    name = "127.0.0.1"

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int = 0) -> None:
        self._server = Server(("127.0.0.1", port), type("Handler", (handler,), {"service": self}))
        self.url = f"http://{self.name}:{self._server.server_port}"

    def __enter__(self: S) -> S:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
