"""A real `workbench serve` in a process of its own, for tests that need server, worker and kills."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 60.0


def free_port() -> int:
    """Of a range that each worker of pytest has to itself: a server takes seconds to open what was found free.

    Below the ephemeral range, where a client's socket could take it first.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 18000 + 2000 * (worker % 6) + os.getpid() % 1000
    for port in range(first, first + 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


@dataclass
class Live:
    """A running server: where it is, and the link that logs the administrator in once."""

    process: subprocess.Popen[str]
    port: int
    login_url: str
    home: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def worker_pids(self) -> list[int]:
        """The processes that the server started, found through the threads that started them."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


@contextmanager
def serve(
    home: Path, *, command: list[str] | None = None, cwd: Path | None = None, extra: tuple[str, ...] = ()
) -> Iterator[Live]:
    """Start, wait for the address, and end by SIGTERM; anything still running after that is killed."""
    port = free_port()
    command = command or [sys.executable, "-m", "workbench"]
    process = subprocess.Popen(
        [*command, "serve", "--home", str(home), "--port", str(port), "--json", *extra],
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )
    try:
        yield Live(process, port, _read_url(process), home)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _read_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text = ""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended with {process.wait()} before it said where it is")
        text += line
        if line.strip() == "}":
            return str(json.loads(text)["url"])
    raise RuntimeError("the server did not say where it is")


def fetch(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.status, answer.read().decode()
