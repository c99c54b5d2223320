"""`workbench serve`: the web server in this process, worker processes beside it, all ending together."""

import gc
import ipaddress
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import waitress

from workbench.app import MAX_UPLOAD_BYTES, create_app
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Invalid
from workbench.queries import users as user_queries

_WEB_THREADS = 16
_LONGEST_PAUSE_S = 30.0
_PROXY_HEADERS = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}


class Workers:
    """Worker processes that are started again when they die, with a pause that doubles while they keep dying."""

    def __init__(self, home: Home, count: int) -> None:
        self._home = home
        self._stopping = threading.Event()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._threads = [threading.Thread(target=self._keep, args=(number,), daemon=True) for number in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for process in list(self._processes.values()):
            process.terminate()
        for process in list(self._processes.values()):
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()

    def _keep(self, number: int) -> None:
        pause = 0.5
        while not self._stopping.is_set():
            began = time.monotonic()
            process = self._processes[number] = self._spawn()
            process.wait()
            if self._stopping.is_set():
                return
            pause = 0.5 if time.monotonic() - began > 60 else min(2 * pause, _LONGEST_PAUSE_S)
            sys.stderr.write(f"workbench: worker {number + 1} ended ({process.returncode}); starting it again\n")
            self._stopping.wait(pause)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "workbench.worker.process", str(self._home.root)]
        # In a session of its own, so that Ctrl+C reaches the parent first; the pipe tells it when we are gone.
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=os.environ.copy())  # noqa: S603


def check_address(database: Database, host: str, *, behind_proxy: bool = False) -> None:
    """Refuse to be reachable from elsewhere while anybody could only come in by link."""
    if is_loopback(host) and not behind_proxy:
        return
    with database.read() as session:
        if not user_queries.has_password_account(session):
            raise Invalid(
                f"Refusing to listen on {host}{' for a proxy' if behind_proxy else ''}: no account has a password yet. "
                "Start on 127.0.0.1, open the login "
                "link, set a password under your name, then serve here."
            )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_port(host: str, wanted: int) -> int:
    """`wanted`, or the next port that nobody listens on."""
    for port in range(wanted, wanted + 50):
        if can_listen(host, port):
            return port
    raise Invalid(f"None of the ports {wanted} to {wanted + 49} is free; name another with --port.")


def can_listen(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def make_server(database: Database, *, host: str, port: int, behind_proxy: bool = False) -> Any:
    """The web server with its port open. It buffers a request before the application sees it, to the same limit.

    behind_proxy: who asks, over which scheme and for which host is what X-Forwarded-For, -Proto and -Host say, which
    a proxy sets. Without it these headers are dropped: anybody could send them.
    """
    application = create_app(database)
    _spare_the_collector()
    proxied = {"trusted_proxy": "*", "trusted_proxy_headers": _PROXY_HEADERS} if behind_proxy else {}
    return waitress.create_server(
        application,
        host=host,
        port=port,
        threads=_WEB_THREADS,
        ident="workbench",
        channel_timeout=60,
        max_request_body_size=MAX_UPLOAD_BYTES,
        clear_untrusted_proxy_headers=True,
        **proxied,
    )


def _spare_the_collector() -> None:
    """What was loaded at the start stays: looking through it for garbage would take an eighth of every answer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def serve_web(
    database: Database, *, host: str, port: int, when_ready: Callable[[], None], behind_proxy: bool = False
) -> None:
    """Answer until interrupted. `when_ready` is called once the port is open."""
    server = make_server(database, host=host, port=port, behind_proxy=behind_proxy)
    when_ready()
    try:
        server.run()
    finally:
        server.close()
