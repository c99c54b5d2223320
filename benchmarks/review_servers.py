"""The servers that are measured: started on a free port, logged into, asked for their CPU time, ended."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.review_planting import CLASSES, NAME, QUEUE_ID, plant
from workbench.config import Home
from workbench.db import open_database
from workbench.queries import datasets as dataset_queries
from workbench.services import users

AHEAD = 8  # cards that a browser holds
_START_S = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """One server in a process of its own. `spec` is what its clients are told besides who they are."""

    name: str
    kind: str
    folder: Path
    clients: int
    port: int = field(default_factory=free_port)
    people: list[dict[str, str]] = field(default_factory=list)
    spec: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        raise NotImplementedError

    def launch(self, command: list[str], *, environment: Mapping[str, str] | None = None) -> None:
        log = (self.folder / "server.log").open("wb")
        self.process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
        )
        log.close()
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} does not answer: {(self.folder / 'server.log').read_text()[-2000:]}")

    def cpu_s(self) -> float:
        """CPU seconds that it and what it started have used."""
        if self.process is None:
            raise RuntimeError(f"{self.name} is not started")
        return sum(_read_cpu_s(pid) for pid in _family(self.process.pid))

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            for pid in _family(self.process.pid):
                os.kill(pid, signal.SIGTERM)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def run(self, *, clients: int, decisions: int, seconds: float) -> dict[str, Any]:
        """What so many clients at once measure, with the CPU seconds of the server in `server_cpu_s`."""
        spec = {
            **self.spec, "kind": self.kind, "port": self.port, "people": self.people[:clients], "decisions": decisions,
            "seconds": seconds,
        }  # fmt: skip
        before = self.cpu_s()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.review_clients"],
            input=json.dumps(spec), capture_output=True, text=True, check=True,
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout)
        if answer["faults"]:
            raise RuntimeError(f"{self.name}: {answer['faults'][0]}")
        return {**answer, "server_cpu_s": max(self.cpu_s() - before, 1 / _TICKS)}  # below a tick nothing is known


def _family(pid: int) -> list[int]:
    """The process and all that it started, directly or not."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += _family(int(child))
    return found


def _read_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Cookies:
    """A browser as far as logging in needs one."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._jar: dict[str, str] = {}

    def close(self) -> None:
        self._connection.close()

    @property
    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self._jar.items())

    def __getitem__(self, name: str) -> str:
        return self._jar[name]

    def fetch(self, path: str, *, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, str]:
        self._connection.request(method, path, body, {"Cookie": self.header, **headers})
        answer = self._connection.getresponse()
        text = answer.read().decode()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            self._jar[name] = value
        return answer.status, text


@dataclass
class Workbench(Server):
    """Ours, over a planted home of `count` images."""

    count: int = 35_000

    def start(self) -> None:
        plant(self.folder, count=self.count)
        links = self._prepare()
        command = [sys.executable, "-m", "workbench", "serve", "--web-only"]
        self.launch([*command, "--home", str(self.folder), "--port", str(self.port)])
        self.people = [self._log_in(link) for link in links]

    def _prepare(self) -> list[str]:
        database = open_database(Home.at(self.folder))
        with database.write() as session:
            people = [users.ensure_user(session, f"reviewer{number}") for number in range(self.clients)]
            links = [users.make_login_link(session, user=user) for user in people]
            dataset = dataset_queries.get_dataset(session, NAME)
            classes = dataset_queries.list_open_classes(session, dataset.id)
            self.spec = {
                "queue": f"/d/{NAME}/queues/{QUEUE_ID}",
                "classes": [cls.id for cls in classes],
                "ahead": AHEAD,
            }
        database.close()
        return links

    def _log_in(self, link: str) -> dict[str, str]:
        with closing(Cookies(self.port)) as browser:
            browser.fetch(f"/login/{link}")
            _, text = browser.fetch(str(self.spec["queue"]))
        found = re.search(r'"X-CSRFToken": "([^"]+)"', text)
        if found is None:
            raise RuntimeError("the page of the queue has no CSRF token; is the login link used up?")
        return {"cookie": browser.header, "token": found[1]}


@dataclass
class Floor(Server):
    """The bare server, with as many rows."""

    count: int = 35_000

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "floor.sqlite"
        command = [sys.executable, "-m", "benchmarks.review_floor", str(file), str(self.count), str(self.port)]
        self.launch(command)
        self.people = [{}] * self.clients


@dataclass
class LabelStudio(Server):
    """Label Studio with its own SQLite file and `count` tasks, each of its users in the one project."""

    environment: Path = Path()
    count: int = 10_000

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        account = {"username": "bench0@example.org", "password": "bench-password-0"}
        settings = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.folder), "LABEL_STUDIO_USERNAME": account["username"],
            "LABEL_STUDIO_PASSWORD": account["password"], "COLLECT_ANALYTICS": "false",
            "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        }  # fmt: skip
        command = [str(self.environment / "bin" / "label-studio"), "start", "--no-browser"]
        self.launch([*command, "--port", str(self.port), "--data-dir", str(self.folder)], environment=settings)
        lead = self._log_in(account["username"], account["password"])
        self.spec = {"project": self._make_project(lead), "choices": list(CLASSES)}
        others = [self._sign_up(lead, number) for number in range(1, self.clients)]
        for browser in (lead, *others):
            self.people.append({"cookie": browser.header, "token": browser["csrftoken"]})
            browser.close()

    def _log_in(self, email: str, password: str) -> Cookies:
        browser = Cookies(self.port)
        browser.fetch("/user/login/")
        _post_form(browser, "/user/login/", email=email, password=password)
        return browser

    def _sign_up(self, lead: Cookies, number: int) -> Cookies:
        """Another account, in the same organisation through its invitation link."""
        _, text = lead.fetch("/api/invite")
        link = json.loads(text)["invite_url"]
        browser = Cookies(self.port)
        browser.fetch(link)
        _post_form(browser, link, email=f"bench{number}@example.org", password=f"bench-password-{number}")
        return browser

    def _make_project(self, lead: Cookies) -> int:
        choices = "".join(f'<Choice value="{name}"/>' for name in CLASSES)
        config = (
            '<View><Image name="image" value="$image"/>'
            f'<Choices name="label" toName="image" choice="single">{choices}</Choices></View>'
        )
        project = _post_json(lead, "/api/projects/", {"title": "bench", "label_config": config})["id"]
        for start in range(0, self.count, 1000):
            rows = range(start, min(start + 1000, self.count))
            tasks = [{"image": f"/data/image-{row:07d}.png"} for row in rows]
            _post_json(lead, f"/api/projects/{project}/import", tasks)
        return int(project)


def _post_form(browser: Cookies, path: str, **fields: str) -> None:
    form = urlencode({**fields, "csrfmiddlewaretoken": browser["csrftoken"]})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text = browser.fetch(path, method="POST", body=form, **headers)
    if status != 302:
        raise RuntimeError(f"{path} answered {status}: {text[:300]}")


def _post_json(browser: Cookies, path: str, document: Any) -> Any:
    headers = {"Content-Type": "application/json", "X-CSRFToken": browser["csrftoken"]}
    status, text = browser.fetch(path, method="POST", body=json.dumps(document), **headers)
    if status not in (200, 201):
        raise RuntimeError(f"{path} answered {status}: {text[:300]}")
    return json.loads(text)
