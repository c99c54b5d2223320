"""How fast a decision and the next card are: ours beside the least that a server does, and Label Studio if it is there.

    python -m benchmarks.review 35000 1000000 --homes FOLDER [--label-studio VENV] [--rounds 5]

Each server runs in a process of its own with as many clients as said; a decision is one request that stores the answer,
synced to disk, and brings the next card (two requests for Label Studio). The servers take turns in every round, so that
what else the machine does falls on all of them; ratios are taken within rounds, their intervals over rounds.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.review_servers import Floor, LabelStudio, Server, Workbench

WARM_UP = 24
_LABEL_STUDIO_S = 8.0  # of each of its turns
_LONGEST_S = 300.0


@dataclass
class Measured:
    """What one server did with one number of clients, one document of `Server.run` for each round."""

    server: str
    clients: int
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def times_ms(self) -> list[float]:
        return [1000 * seconds for each in self.rounds for seconds in each["times"]]

    def per_round(self, figure: str) -> list[float]:
        """figure: p50 or p99 in ms, rate in decisions/s, cpu in ms of the server a decision."""
        return [_figure(each, figure) for each in self.rounds]

    def client_cpu_ms(self) -> float:
        return 1000 * sum(each["cpu_s"] for each in self.rounds) / len(self.times_ms)

    def server_cpu_ms(self) -> float:
        return 1000 * sum(each["server_cpu_s"] for each in self.rounds) / len(self.times_ms)

    def rate(self) -> float:
        return len(self.times_ms) / sum(each["wall_s"] for each in self.rounds)


def _figure(run: dict[str, Any], figure: str) -> float:
    if figure == "rate":
        return float(len(run["times"]) / run["wall_s"])
    if figure == "cpu":
        return float(1000 * run["server_cpu_s"] / len(run["times"]))
    return float(1000 * np.percentile(run["times"], {"p50": 50, "p99": 99}[figure]))


def compare(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean of the ratios one / other, round by round, and its 95 % interval (t over rounds)."""
    logs = [math.log(a / b) for a, b in zip(one, other, strict=True)]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def measure(servers: Sequence[Server], *, rounds: int, decisions: dict[int, int]) -> dict[tuple[str, int], Measured]:
    """decisions: number of clients -> decisions in each round."""
    found: dict[tuple[str, int], Measured] = {}
    for server in servers:
        server.run(clients=max(decisions), decisions=WARM_UP, seconds=_LONGEST_S)
    for turn in range(rounds):
        for clients, wanted in decisions.items():
            for server in servers[turn % len(servers) :] + list(servers[: turn % len(servers)]):
                seconds = _LABEL_STUDIO_S if isinstance(server, LabelStudio) else _LONGEST_S
                run = server.run(clients=clients, decisions=wanted, seconds=seconds)
                found.setdefault((server.name, clients), Measured(server.name, clients)).rounds.append(run)
                sys.stderr.write(f"round {turn + 1}: {server.name}, {clients}: p50 {_figure(run, 'p50'):.1f} ms\n")
    return found


def count_twice(found: dict[tuple[str, int], Measured], server: str) -> dict[int, int]:
    """Number of clients -> decisions on items that had been decided before in the whole measurement."""
    seen: set[Any] = set()
    twice: Counter[int] = Counter()
    rounds = [(clients, each.rounds) for (name, clients), each in found.items() if name == server]
    for turn in range(max(len(each) for _, each in rounds)):
        for clients, each in rounds:
            for item in each[turn]["items"]:
                twice[clients] += item in seen
                seen.add(item)
    return twice


def report(found: dict[tuple[str, int], Measured], servers: Sequence[Server]) -> Iterator[str]:
    titles = "server, clients, decisions, p50 ms, p99 ms, decisions/s, server CPU ms, client CPU ms, given twice"
    yield f"| {titles.replace(', ', ' | ')} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for (name, clients), each in sorted(found.items(), key=lambda pair: pair[0][1]):
        p50, p99 = np.percentile(each.times_ms, [50, 99])
        yield (
            f"| {name} | {clients} | {len(each.times_ms):,} | {p50:.1f} | {p99:.1f} | {each.rate():,.0f} "
            f"| {each.server_cpu_ms():.2f} | {each.client_cpu_ms():.2f} | {count_twice(found, name)[clients]} |"
        )
    yield ""
    yield "| ratio, 95 % interval over rounds | clients | rounds | p50 | server CPU | decisions/s |"
    yield "|---|---|---|---|---|---|"
    yield from _report_ratios(found, servers)


def _report_ratios(found: dict[tuple[str, int], Measured], servers: Sequence[Server]) -> Iterator[str]:
    ours = [server.name for server in servers if isinstance(server, Workbench)]
    others = [server.name for server in servers if not isinstance(server, Workbench)]
    pairs = [(name, other) for name in ours for other in others] + [(name, ours[0]) for name in ours[1:]]
    for one, other in pairs:
        for clients in sorted({number for _, number in found}):
            first, second = found[one, clients], found[other, clients]
            cells = []
            for figure in ("p50", "cpu", "rate"):
                mean, low, high = compare(first.per_round(figure), second.per_round(figure))
                cells.append(f"{mean:.3g} ({low:.3g} to {high:.3g})")
            yield f"| {one} / {other} | {clients} | {len(first.rounds)} | {' | '.join(cells)} |"


def make_servers(options: argparse.Namespace, folder: Path, *, clients: int) -> list[Server]:
    homes = options.homes or folder
    servers: list[Server] = [Floor("floor", "floor", folder / "floor", clients, count=max(options.sizes))]
    servers += [
        Workbench(f"ours, {count:,}", options.protocol, homes / f"{count}", clients, count=count)
        for count in options.sizes
    ]
    if options.label_studio:
        name, home = "Label Studio, 10,000", folder / "label-studio"
        servers.append(LabelStudio(name, "label-studio", home, clients, environment=options.label_studio))
    return servers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", type=int, nargs="+", help="images of each planted data set")
    parser.add_argument("--homes", type=Path, help="folder of the planted homes, kept for the next time")
    parser.add_argument("--label-studio", type=Path, help="a virtual environment with Label Studio in it")
    parser.add_argument("--protocol", choices=("answers", "form"), default="answers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", type=int, default=100, help="decisions of 1 client in a round")
    parser.add_argument("--together", type=int, default=300, help="decisions of 8 clients in a round")
    parser.add_argument("--out", type=Path, help="file for all that was measured, as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        servers = make_servers(options, Path(folder), clients=8)
        try:
            for server in servers:
                server.start()
            decisions = {1: options.alone, 8: options.together}
            found = measure(servers, rounds=options.rounds, decisions=decisions)
        finally:
            for server in servers:
                server.stop()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.rounds} rounds\n")
    print("\n".join(report(found, servers)))
    if options.out:
        options.out.write_text(json.dumps([vars(each) for each in found.values()]))


if __name__ == "__main__":
    main()
