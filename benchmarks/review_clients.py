"""Reviewers without eyes: each decides as fast as the server answers, over one connection that is kept open.

    python -m benchmarks.review_clients < SPEC.json

In a process of its own, so that its CPU time is not the server's. Standard output is one JSON document: the time of
each request from the first byte sent to the last byte read, the ids of the items decided, wall and own CPU seconds.
"""

import http.client
import json
import random
import re
import sys
import threading
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field
from typing import Any, Protocol

_TIMEOUT_S = 60


@dataclass
class Person:
    """Who decides: the cookie of their session and the token that goes with it."""

    cookie: str = ""
    token: str = ""


@dataclass
class Line:
    """One connection to the server of one person. `seconds` is what the last request took."""

    port: int
    person: Person
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        began = time.perf_counter()
        self._connection.request(method, path, body, {"Cookie": self.person.cookie, **headers})
        answer = self._connection.getresponse()
        data = answer.read()
        self.seconds = time.perf_counter() - began
        return answer.status, data

    def send_json(self, path: str, document: dict[str, Any], **headers: str) -> dict[str, Any]:
        body = json.dumps(document).encode()
        status, data = self.send("POST", path, body, **{"Content-Type": "application/json", **headers})
        if status not in (200, 201):
            raise RuntimeError(f"{path} answered {status}: {data[:300]!r}")
        read: dict[str, Any] = json.loads(data)
        return read


class Reviewer(Protocol):
    def begin(self) -> None: ...

    def decide(self) -> tuple[list[Any], float]:
        """Decide on what is held and get the next: the items that were settled, the seconds that the server took."""
        ...


@dataclass
class CardReviewer:
    """Ours: one answer sent and one card asked for in each request, some cards held ahead as the browser does."""

    line: Line
    spec: dict[str, Any]
    held: list[dict[str, Any]] = field(default_factory=list)

    def begin(self) -> None:
        self._send([], want=int(self.spec["ahead"]))

    def decide(self) -> tuple[list[Any], float]:
        card = self.held.pop(0)
        verdict = self._choose(card["html"])
        answer = {"action": uuid.uuid4().hex, "item": card["item"], "kind": "decide", "seconds": 1.5, **verdict}
        results = self._send([answer], want=1)
        return [result["item"] for result in results if result["status"] == "saved"], self.line.seconds

    def _choose(self, html: str) -> dict[str, Any]:
        revision = re.search(r'name="revision" value="(\d+)"', html)
        if revision is None:
            raise RuntimeError("the card has no revision")
        verdict: dict[str, Any] = {"verdict": "confirm", "revision": int(revision[1]), "forced": ""}
        if random.random() < 0.4:
            verdict |= {"verdict": "relabel", "class_id": random.choice(self.spec["classes"])}
        return verdict

    def _send(self, answers: list[dict[str, Any]], *, want: int) -> list[dict[str, Any]]:
        document = {"answers": answers, "holding": [card["item"] for card in self.held], "want": want}
        got = self.line.send_json(f"{self.spec['queue']}/answers", document, **{"X-CSRFToken": self.line.person.token})
        lost = set(got["lost"])
        self.held = [card for card in self.held if card["item"] not in lost] + got["cards"]
        if not self.held:
            raise RuntimeError("the queue has no more cards")
        return list(got["results"])


@dataclass
class FormReviewer:
    """Ours without script: the form of the card is sent, the next card comes in its place."""

    line: Line
    spec: dict[str, Any]
    card: str = ""

    def begin(self) -> None:
        status, data = self.line.send("GET", self.spec["queue"])
        if status != 200:
            raise RuntimeError(f"the queue answered {status}")
        self.card = data.decode()

    def decide(self) -> tuple[list[Any], float]:
        action = re.search(r'action="([^"]*/items/(\d+)/decide)"', self.card)
        revision = re.search(r'name="revision" value="(\d+)"', self.card)
        if action is None or revision is None:
            raise RuntimeError("this is no card")
        form = {"revision": revision[1], "action": uuid.uuid4().hex, "verdict": "confirm"}
        if random.random() < 0.4:
            form |= {"verdict": "relabel", "class_id": str(random.choice(self.spec["classes"]))}
        headers = {
            "Content-Type": "application/x-www-form-urlencoded", "HX-Request": "true", "HX-Target": "card",
            "X-CSRFToken": self.line.person.token,
        }  # fmt: skip
        status, data = self.line.send("POST", action[1], urllib.parse.urlencode(form).encode(), **headers)
        self.card = data.decode()
        return ([int(action[2])] if status == 200 else []), self.line.seconds


@dataclass
class FloorReviewer:
    line: Line
    spec: dict[str, Any]
    item: int = 0

    def begin(self) -> None:
        self.decide()

    def decide(self) -> tuple[list[Any], float]:
        decided = self.item
        self.item = self.line.send_json("/answers", {"item": decided, "verdict": "confirm"})["item"]
        return [decided], self.line.seconds


@dataclass
class LabelStudioReviewer:
    """Two requests a decision, as its own page does: the annotation is sent, the next task is asked for."""

    line: Line
    spec: dict[str, Any]
    task: int = 0

    def begin(self) -> None:
        self._next()

    def decide(self) -> tuple[list[Any], float]:
        decided = self.task
        choice = {"choices": [random.choice(self.spec["choices"])]}
        result = [{"from_name": "label", "to_name": "image", "type": "choices", "value": choice}]
        document = {"result": result, "lead_time": 1.5}
        self.line.send_json(f"/api/tasks/{decided}/annotations/", document, **{"X-CSRFToken": self.line.person.token})
        submitted = self.line.seconds
        self._next()
        return [decided], submitted + self.line.seconds

    def _next(self) -> None:
        status, data = self.line.send("GET", f"/api/projects/{self.spec['project']}/next/")
        if status != 200:
            raise RuntimeError(f"the next task: {status} {data[:200]!r}")
        self.task = json.loads(data)["id"]


KINDS: dict[str, Any] = {
    "answers": CardReviewer,
    "form": FormReviewer,
    "floor": FloorReviewer,
    "label-studio": LabelStudioReviewer,
}


@dataclass
class Shift:
    """What all reviewers of one run have done together; they stop at `decisions` or after `seconds`."""

    decisions: int
    seconds: float
    begun: int = 0
    times: list[float] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def work(self, reviewer: Reviewer, start: threading.Barrier) -> None:
        try:
            reviewer.begin()
            start.wait(timeout=_TIMEOUT_S)
            until = time.monotonic() + self.seconds
            while self._has_more() and time.monotonic() < until:
                items, seconds = reviewer.decide()
                with self._turn:
                    self.items += items
                    self.times.append(seconds)
        except Exception as error:  # noqa: BLE001 - reported to the benchmark, which shows it
            self.faults.append(repr(error))
            start.abort()

    def _has_more(self) -> bool:
        with self._turn:
            self.begun += 1
            return self.begun <= self.decisions


def run(spec: dict[str, Any]) -> dict[str, Any]:
    people = [Person(**each) for each in spec["people"]]
    shift = Shift(spec["decisions"], spec["seconds"])
    begun: list[tuple[float, float]] = []
    start = threading.Barrier(len(people), action=lambda: begun.append((time.perf_counter(), time.process_time())))
    made = [KINDS[spec["kind"]](Line(spec["port"], person), spec) for person in people]
    threads = [threading.Thread(target=shift.work, args=(reviewer, start)) for reviewer in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, cpu = begun[0] if begun else (time.perf_counter(), time.process_time())
    return {
        "times": shift.times,
        "items": shift.items,
        "faults": shift.faults,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
    }


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.stdin.read()))))
