"""Reviewers over real HTTP whose server and worker are killed again and again, and what must be true in the end.

    python -m tests.kills --kills 200 [--seed 7]

Eight clients decide through the answers protocol, each with an outbox as the browser has one: an answer stays in it
under its action id until the server has said what became of it. Connections are cut by the client as well: after the
request, before the answer is read, in the middle of the body; and some requests are sent twice, at once or later.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select

from tests.drawing import draw, write_files
from tests.gallery import make_gallery
from tests.live import START_S, free_port
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.models import VERDICTS, Decision, Image, Import, Job, Opinion, Queue, QueueItem
from workbench.queries import datasets as dataset_queries
from workbench.services import checks, datasets, jobs, queues, users

CLIENTS = 8
_PACE_S = 0.05  # a client rests this long between requests, on average
_PER_KILL = 400  # images for each kill: more than are decided between two
_CUTS = {"none": 70, "unread": 10, "at once": 6, "half": 6, "twice": 4, "again": 4}  # what is done to requests, in %
_FLUSH_S = 90.0
_PATIENT = 0.3  # share of the kills that wait until the worker is at work; it takes longer to start than the web
_WORK_S = 15.0
_AHEAD = 8  # cards that a browser holds


# --- the server -------------------------------------------------------------------------------------------------


class Keeper:
    """`workbench serve` on one port, killed and started again."""

    def __init__(self, home: Home, log: Path) -> None:
        self.home = home
        self.port = free_port()
        self.log = log
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "workbench", "serve", "--home", str(self.home.root), "--json"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=subprocess.PIPE, stderr=log, text=True
            )
        deadline = time.monotonic() + START_S
        while self.process.stdout and (line := self.process.stdout.readline()):
            if line.strip() == "}":
                return
            if time.monotonic() > deadline:
                break
        raise RuntimeError(f"the server did not start: {self.log.read_text()[-2000:]}")

    def worker_pids(self) -> list[int]:
        """The processes that the server started, found through the threads that started them."""
        found = []
        with contextlib.suppress(OSError):  # a thread may end while it is looked at
            for task in Path(f"/proc/{self.process.pid if self.process else 0}/task").iterdir():
                found += [int(pid) for pid in (task / "children").read_text().split()]
        return found

    def kill_web(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout:
                self.process.stdout.close()

    def kill_workers(self) -> bool:
        pids = self.worker_pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process is not None and self.process.stdout:
            self.process.stdout.close()


# --- the clients ------------------------------------------------------------------------------------------------


@dataclass
class Desk:
    """What one reviewer has of one queue: cards on the screen and ahead, and answers not known to have arrived."""

    url: str
    classes: list[int]
    cards: list[dict[str, Any]] = field(default_factory=list)
    outbox: list[dict[str, Any]] = field(default_factory=list)
    is_empty: bool = False


@dataclass
class Client:
    """One reviewer's browser. The dictionaries are by action id; `sent` holds every answer that ever left."""

    port: int
    login: str
    queues: list[tuple[str, list[int]]]
    rng: random.Random
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    saved: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    cut: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.desks = [Desk(url, classes) for url, classes in self.queues]
        self._cookie = ""
        self._token = ""
        self._connection: http.client.HTTPConnection | None = None

    def log_in(self) -> None:
        jar: dict[str, str] = {}
        for path in (f"/login/{self.login}", "/settings"):
            answer = self._request("GET", path)
            text = answer.read().decode()
            cookies = [line.partition(";")[0] for line in answer.headers.get_all("Set-Cookie") or []]
            jar.update((cookie.split("=", 1)[0], cookie.split("=", 1)[1]) for cookie in cookies)
            self._cookie = "; ".join(f"{name}={value}" for name, value in jar.items())
        found = re.search(r'"X-CSRFToken": "([^"]+)"', text)
        if found is None:
            raise RuntimeError("no CSRF token: the login did not work")
        self._token = found[1]

    def work(self, stop: threading.Event) -> None:
        """Decide until told to stop or all queues are done, then send what is left in the outboxes."""
        try:
            while not stop.is_set() and not all(desk.is_empty for desk in self.desks):
                self._turn(self.rng.choices(self.desks, [3, *[1] * (len(self.desks) - 1)])[0])
                time.sleep(self.rng.expovariate(1 / _PACE_S))
            deadline = time.monotonic() + _FLUSH_S
            for desk in self.desks:
                while desk.outbox and time.monotonic() < deadline:
                    self._send(desk, cut="none")
                    time.sleep(0.1)
        except Exception as error:  # noqa: BLE001 - a thread's exception would be lost
            self.faults.append(repr(error))
        finally:
            self._hang_up()

    def _turn(self, desk: Desk) -> None:
        if desk.cards:
            desk.outbox.append(self._answer(desk))
        cut = self.rng.choices(list(_CUTS), list(_CUTS.values()))[0]
        self.cut[cut] += 1
        if cut == "again" and self.saved:
            action = self.rng.choice(list(self.saved))
            if self.sent[action]["url"] == desk.url:
                desk.outbox.append(self.sent[action]["answer"])
        self._send(desk, cut=cut)

    def _answer(self, desk: Desk) -> dict[str, Any]:
        card = desk.cards.pop(0)
        revision = re.search(r'name="revision" value="(\d+)"', card["html"])
        answer = {"action": uuid.UUID(int=self.rng.getrandbits(128)).hex, "item": card["item"], "kind": "decide",
                  "revision": int(revision[1]) if revision else 0, "seconds": 1.5}  # fmt: skip
        kind = self.rng.random()
        one, other = self.rng.sample(desk.classes, 2)
        if kind < 0.06:
            answer["kind"] = "skip"
        elif kind < 0.1:
            answer |= {"kind": "comment", "text": "what is that?"}
        elif kind < 0.2:
            answer["verdict"] = "exclude"
        elif kind < 0.3:
            answer |= {"verdict": "ambiguous", "class_ids": [one, other]}
        elif kind < 0.6:
            answer |= {"verdict": "relabel", "class_id": one}
        else:
            answer |= {"verdict": "confirm"}
        self.sent[answer["action"]] = {"answer": answer, "url": desk.url}
        return answer

    def _send(self, desk: Desk, *, cut: str) -> None:
        holding = [card["item"] for card in desk.cards]
        document = {"answers": desk.outbox, "holding": holding, "want": _AHEAD - len(holding)}
        body = json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "X-CSRFToken": self._token}
        path = f"{desk.url}/answers"
        try:
            if cut in ("at once", "half"):
                self._cut_off(path, headers, body, cut=cut)
                return
            if cut == "twice":
                self._send_beside(path, headers, body)
            answer = self._request("POST", path, body, headers)
            if cut == "unread":
                self._hang_up()
                return
            self._take(desk, answer.status, answer.read().decode())
        except (OSError, http.client.HTTPException):
            self._hang_up()
            time.sleep(0.1)

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self._connection.request(method, path, body, {"Cookie": self._cookie, **(headers or {})})
        return self._connection.getresponse()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _cut_off(self, path: str, headers: dict[str, str], body: bytes, *, cut: str) -> None:
        """Close the socket once all was sent, or in the middle of the body."""
        lines = {"Host": f"127.0.0.1:{self.port}", "Cookie": self._cookie, "Content-Length": str(len(body)), **headers}
        head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as line:
            line.sendall(head.encode() + (body if cut == "at once" else body[: len(body) // 2]))
            time.sleep(self.rng.random() * 0.01)

    def _send_beside(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """The same request on a connection of its own, at the same time; nobody reads what it brings."""

        def send() -> None:
            line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            with contextlib.closing(line), contextlib.suppress(OSError, http.client.HTTPException):
                line.request("POST", path, body, {"Cookie": self._cookie, **headers})
                line.getresponse().read()

        threading.Thread(target=send, daemon=True).start()

    def _take(self, desk: Desk, status: int, text: str) -> None:
        if status == 503:
            return
        if status != 200:
            self.faults.append(f"{status} {text[:300]}")
            return
        got = json.loads(text)
        for result in got["results"]:
            self._note(result)
        known = {result["action"] for result in got["results"]}
        desk.outbox = [answer for answer in desk.outbox if answer["action"] not in known]
        lost = set(got["lost"])
        held = {card["item"] for card in desk.cards}
        if held & {card["item"] for card in got["cards"]}:
            self.faults.append("a card that is held was sent again")
        desk.cards = [card for card in desk.cards if card["item"] not in lost] + got["cards"]
        desk.is_empty = bool(got["ending"]) and not desk.cards and not desk.outbox

    def _note(self, result: dict[str, Any]) -> None:
        action, status = result["action"], result["status"]
        if action not in self.sent:
            self.faults.append(f"a result for an action that was never sent: {result}")
        elif status == "saved":
            if action in self.refused:
                self.faults.append(f"{action} was {self.refused[action]} and is saved now")
            self.saved[action] = self.sent[action]["answer"]
        elif action in self.saved:
            self.faults.append(f"{action} was saved and is {status} now: {result['sentence']}")
        else:
            self.refused[action] = f"{status}: {result['sentence']}"


# --- the home ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planted:
    """`queues`: address and classes of the ordinary queue, then of the one that asks for two blind opinions."""

    logins: list[str]
    queues: list[tuple[str, list[int]]]


def plant(database: Database, home: Home, folder: Path, *, images: int) -> Planted:
    write_files(folder / "many", {f"cat/{number:04d}.png": draw(number) for number in range(300)})
    with database.write() as session:
        make_gallery(session, home)
        made = []
        for name, asked, count in (("pets", 1, images), ("birds", 2, images // 4)):
            dataset = datasets.ensure_dataset(session, name)
            found = datasets.ensure_classes(session, dataset, ["cat", "dog", "owl"])
            ids = [cls.id for cls in found.values()]
            source = Import(dataset_id=dataset.id, source="drawn", format="folder", options={}, status="done")
            session.add(source)
            session.flush()
            session.execute(insert(Image), list(_rows(dataset.id, source.id, ids, count)))
            queue = queues.build_queue(session, home, dataset=dataset, recipe="random", limit=count, opinions=asked)
            made.append((f"/d/{name}/queues/{queue.id}", ids))
        people = [users.ensure_user(session, f"client{number}") for number in range(CLIENTS)]
        logins = [users.make_login_link(session, user=user) for user in people]
    return Planted(logins, made)


def _rows(dataset_id: int, import_id: int, class_ids: list[int], count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        label, fingerprint = class_ids[number % 3], f"{dataset_id:08d}{number:056d}"
        yield {
            "dataset_id": dataset_id, "import_id": import_id, "path": f"{number:07d}.png", "location": "object",
            "file_sha256": fingerprint, "pixel_sha256": fingerprint, "width": 8, "height": 8, "mode": "L",
            "media_type": "image/png", "size_bytes": 100, "first_label_id": label, "base_label_id": label,
            "label_id": label, "first_split": "train", "split": "train",
        }  # fmt: skip


def keep_the_worker_busy(database: Database, source: Path, number: int) -> None:
    """A scan and an import by turns, one at a time."""
    with database.write() as session:
        running = select(func.count()).select_from(Job).where(Job.status.in_(("queued", "running")))
        if session.scalar(running):
            return
        admin = users.ensure_admin(session)
        if number % 2:
            jobs.enqueue(session, kind="import", user=admin, dataset=f"copy {number}", source=str(source), copy=True)
        else:
            jobs.enqueue(session, kind="scan", user=admin, dataset=dataset_queries.get_dataset(session, "gallery"))


# --- the run ----------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    clients: list[Client]
    planted: Planted
    killed: Counter[str]
    jobs: int
    seconds: float
    log: Path

    def describe(self) -> str:
        cut = sum((client.cut for client in self.clients), Counter())
        refused = Counter(reason for client in self.clients for reason in client.refused.values())
        return (
            f"{sum(self.killed.values())} kills ({dict(self.killed)}) in {self.seconds:.0f} s; {self.jobs} jobs done; "
            f"{sum(len(client.sent) for client in self.clients):,} answers sent, "
            f"{sum(len(client.saved) for client in self.clients):,} saved, {dict(refused)}; requests: {dict(cut)}"
        )


def run(folder: Path, *, kills: int, seed: int) -> Outcome:
    """Plant, serve, kill; when it returns, nothing runs any more."""
    rng = random.Random(seed)
    home = Home.at(folder / "home")
    database = open_database(home)
    planted = plant(database, home, folder, images=_PER_KILL * (kills + 4))
    keeper = Keeper(home, folder / "server.log")
    keeper.start()
    clients = [Client(keeper.port, login, planted.queues, random.Random(rng.random())) for login in planted.logins]
    began, killed, stop = time.monotonic(), Counter[str](), threading.Event()
    threads = [threading.Thread(target=client.work, args=(stop,), daemon=True) for client in clients]
    try:
        for client in clients:
            client.log_in()
        for thread in threads:
            thread.start()
        for number in range(kills):
            keep_the_worker_busy(database, folder / "many", number)
            if rng.random() < _PATIENT:
                _await_work(database)
            time.sleep(rng.uniform(0.05, 1.5))
            killed[_kill(keeper, rng)] += 1
        stop.set()
        for thread in threads:
            thread.join()
        done = _await_jobs(database)
    finally:
        stop.set()
        keeper.stop()
        database.close()
    return Outcome(clients, planted, killed, done, time.monotonic() - began, keeper.log)


def _kill(keeper: Keeper, rng: random.Random) -> str:
    target = rng.choices(["web", "worker", "both"], [5, 3, 2])[0]
    if target != "web" and not keeper.kill_workers():
        target = "web"
    if target != "worker":
        keeper.kill_web()
        keeper.start()
    return target


def _await_work(database: Database) -> None:
    """Until the worker has come further with some job, or has ended it."""

    def look() -> list[tuple[Any, ...]]:
        with database.read() as session:
            return [tuple(row) for row in session.execute(select(Job.id, Job.status, Job.done, Job.message))]

    before, deadline = look(), time.monotonic() + _WORK_S
    while look() == before and time.monotonic() < deadline:
        time.sleep(0.05)


def _await_jobs(database: Database) -> int:
    """Until none is left to do; how many are done."""
    deadline = time.monotonic() + _FLUSH_S
    while True:
        with database.read() as session:
            statuses = Counter(session.scalars(select(Job.status)))
        if not statuses["queued"] + statuses["running"] or time.monotonic() > deadline:
            return statuses["done"]
        time.sleep(0.2)


# --- what must be true ------------------------------------------------------------------------------------------


def find_faults(folder: Path, outcome: Outcome) -> list[str]:
    """Everything that is not as promised, each in a sentence; empty if all is well."""
    home = Home.at(folder / "home")
    faults = [fault for client in outcome.clients for fault in client.faults]
    with contextlib.closing(sqlite3.connect(home.database)) as connection:
        faults += [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    database = open_database(home)
    with database.read() as session:
        lines = list(session.scalars(select(Decision).where(Decision.kind != "import")))
        faults += _compare_log(outcome, lines)
        faults += _compare_queues(outcome, session, lines)
        report = checks.check(session)
        faults += [*report.faults, *(each.sentence for data in report.datasets for each in data.differences)]
        faults += [f"job {job.id} is {job.status}: {job.error}" for job in session.scalars(select(Job))
                   if job.status != "done"]  # fmt: skip
    database.close()
    faults += [f"in the server's log: {line}" for line in outcome.log.read_text().splitlines() if "Error" in line]
    return faults


def _compare_log(outcome: Outcome, lines: list[Decision]) -> Iterator[str]:
    logged = Counter(line.action for line in lines)
    by_action = {line.action: line for line in lines}
    everything = {action for client in outcome.clients for action in client.sent}
    yield from (f"nobody sent {action}" for action in logged if action not in everything)
    yield from (f"{action} is in the log {times} times" for action, times in logged.items() if times > 1)
    for client in outcome.clients:
        for action, answer in client.saved.items():
            if answer["kind"] == "skip":
                continue
            if action not in logged:
                yield f"{action} was answered with saved and is not in the log: {answer}"
            elif (wrong := _differs(by_action[action], answer)) is not None:
                yield f"{action} is in the log as another {wrong}: {answer}"
        yield from (f"{action} was {why} and is in the log" for action, why in client.refused.items()
                    if action in logged)  # fmt: skip
        yield from (f"{answer['action']} was never answered" for desk in client.desks for answer in desk.outbox)


def _differs(line: Decision, answer: dict[str, Any]) -> str | None:
    """The first thing in which a line of the log is not what was answered; a relabel to the label is a confirm."""
    if answer["kind"] == "comment":
        return None if line.kind == "comment" else "kind"
    detail = line.detail or {}
    verdict = detail["verdict"] if line.kind == "opinion" else line.kind
    same = {"confirm": ("confirm",), "relabel": ("relabel", "confirm")}.get(answer["verdict"], (answer["verdict"],))
    if verdict not in same:
        return "verdict"
    if answer["verdict"] == "relabel" and line.class_id != answer["class_id"]:
        return "class"
    if answer["verdict"] == "ambiguous" and sorted(detail["classes"]) != sorted(answer["class_ids"]):
        return "list of classes"
    return None


def _compare_queues(outcome: Outcome, session: Any, lines: list[Decision]) -> Iterator[str]:
    verdicts = Counter(line.image_id for line in lines if line.kind in VERDICTS)
    yield from (f"image {image_id} was decided {times} times" for image_id, times in verdicts.items() if times > 1)
    for queue in session.scalars(select(Queue)):
        items = list(session.scalars(select(QueueItem).where(QueueItem.queue_id == queue.id)))
        done = [item for item in items if item.done_action is not None]
        counted = (len(items), len(done), sum(bool(item.hit) for item in done))
        if counted != (queue.size, queue.done, queue.hits):
            yield f"queue {queue.id} says {queue.size, queue.done, queue.hits}, its items are {counted}"
        if queue.opinions == 1:
            decided = {item.image_id for item in done}
            if decided != set(verdicts):
                yield f"queue {queue.id}: {len(decided)} items are done, {len(verdicts)} images decided"
        else:
            yield from _compare_opinions(session, queue, lines)


def _compare_opinions(session: Any, queue: Queue, lines: list[Decision]) -> Iterator[str]:
    said = Counter((line.image_id, line.user_id) for line in lines if line.kind == "opinion")
    asked = Counter(image_id for image_id, _ in said)
    yield from (f"{pair} gave {times} opinions" for pair, times in said.items() if times > 1)
    yield from (f"image {image_id} was asked of {times}" for image_id, times in asked.items() if times > queue.opinions)
    stored = session.execute(select(Opinion.image_id, Opinion.user_id).where(Opinion.queue_id == queue.id)).all()
    if {tuple(row) for row in stored} != set(said):
        yield f"{len(stored)} opinions are stored, the log holds {len(said)}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), kills=options.kills, seed=options.seed)
        print(outcome.describe())
        faults = find_faults(Path(folder), outcome)
    print("\n".join(faults) or "every answered decision is in the log once; workbench check finds no difference")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
