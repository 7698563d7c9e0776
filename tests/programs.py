"""Programs of others that tests start beside themselves: on which port, and how they are ended."""

import random
import socket
import subprocess

_FIRST, _LAST = 20_000, 32_000
"""Below those that the system gives to connections and to servers that ask for none in particular: of these, one may be gone when the program binds it."""


def free_port(wanted: int = 0) -> int:
    """One at which nobody listens on this machine; `wanted` where it is given. Raises OSError where that one is taken."""
    chance = random.SystemRandom()  # not what a test has seeded: two processes of tests would take the same one
    while True:
        port = wanted or chance.randrange(_FIRST, _LAST)
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
                return port
            except OSError:
                if wanted:
                    raise


def end(process: "subprocess.Popen[bytes]", seconds: float = 60.0) -> None:
    """In order, or by force where that takes longer."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
