"""How our servers of Google's gRPC services are started."""

from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import grpc

Methods = Mapping[str, tuple[Callable[..., Any], Any, Any]]
"""{name: (what answers, type of the request, type of the answer)}"""


def serve(service: str, methods: Methods, port: int = 0, workers: int = 4) -> tuple[grpc.Server, str]:
    """(the server, started, its HOST:PORT). Raises RuntimeError where the port is taken."""
    server = grpc.server(futures.ThreadPoolExecutor(workers), options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {
        name: grpc.unary_unary_rpc_method_handler(method, asked.deserialize, answered.serialize) for name, (method, asked, answered) in methods.items()}),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, f"127.0.0.1:{bound}"


def stay(server: grpc.Server, text: str) -> None:
    """Until ^C."""
    print(f"{text}; stop it with ^C", flush=True)
    try:
        server.wait_for_termination()
    except KeyboardInterrupt:
        server.stop(0)
