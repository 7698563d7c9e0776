"""How our servers of Google's gRPC services are started."""

import argparse
from collections.abc import Callable, Mapping
from concurrent import futures
from pathlib import Path
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


def of_a_file(about: str | None, option: str, port: int, serve_it: Callable[[bytes, int], tuple[grpc.Server, str]], text: Callable[[str], str]) -> None:
    """The program of a server that stands on one file: --OPTION=PATH [--port=PORT], until ^C. text: what it says of its HOST:PORT."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--port", type=int, default=port)
    given = vars(parser.parse_args())
    server, address = serve_it(Path(given[option]).read_bytes(), given["port"])
    stay(server, text(address))
