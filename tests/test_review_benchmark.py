"""The benchmark of reviewing: what it plants is sound, what it measures is what happened."""

import math
from pathlib import Path

import pytest
from sqlalchemy import func, select

from benchmarks import review
from benchmarks.review_planting import plant
from benchmarks.review_servers import Floor, Workbench
from workbench.config import Home
from workbench.db import open_database
from workbench.models import Decision, Image, Queue
from workbench.services import checks


def test_servers_take_turns_and_every_decision_that_is_counted_is_in_the_log(tmp_path: Path) -> None:
    plant(tmp_path / "home", count=90, decided=20)
    servers = [
        Floor("floor", "floor", tmp_path / "floor", 2, count=90),
        Workbench("ours, 90", "answers", tmp_path / "home", 2, count=90),
    ]
    try:
        for server in servers:
            server.start()
        found = review.measure(servers, rounds=2, decisions={1: 3, 2: 6})
    finally:
        for server in servers:
            server.stop()
    lines = list(review.report(found, servers))
    assert [line.split(" | ")[:3] for line in lines[2:6]] == [
        ["| floor", "1", "6"],
        ["| ours, 90", "1", "6"],
        ["| floor", "2", "12"],
        ["| ours, 90", "2", "12"],
    ]
    assert [line.split(" | ")[:3] for line in lines[9:]] == [
        ["| ours, 90 / floor", "1", "2"],
        ["| ours, 90 / floor", "2", "2"],
    ]
    assert [sum(review.count_twice(found, server.name).values()) for server in servers] == [0, 0]
    decided = sum(len(run["items"]) for (name, _), each in found.items() if name == "ours, 90" for run in each.rounds)
    check_home(tmp_path / "home", decided=20 + decided + review.WARM_UP)


def check_home(folder: Path, *, decided: int) -> None:
    database = open_database(Home.at(folder))
    with database.read() as session:
        assert checks.check(session).ok
        assert session.scalar(select(func.count()).select_from(Image)) == 90
        assert session.scalar(select(func.count(Decision.image_id.distinct()))) == decided
        assert session.get_one(Queue, 1).done == decided
    database.close()


def test_planting_again_leaves_a_home_as_it_is(tmp_path: Path) -> None:
    plant(tmp_path, count=30, decided=4)
    before = (tmp_path / "workbench.sqlite").stat().st_mtime_ns
    plant(tmp_path, count=30, decided=4)
    assert (tmp_path / "workbench.sqlite").stat().st_mtime_ns == before


def test_an_item_that_is_given_again_is_counted_where_it_was_given_again() -> None:
    alone = review.Measured("ours", 1, [{"items": [1, 2]}, {"items": [3, 9]}])
    together = review.Measured("ours", 8, [{"items": [9, 9, 8]}, {"items": [8, 1]}])
    assert review.count_twice({("ours", 1): alone, ("ours", 8): together}, "ours") == {1: 1, 8: 3}


def test_ratios_are_taken_within_rounds() -> None:
    assert review.compare([2.0, 8.0, 4.0], [1.0, 4.0, 2.0]) == pytest.approx((2, 2, 2))
    mean, low, high = review.compare([2.0, 8.0], [1.0, 2.0])
    assert mean == pytest.approx(math.sqrt(8))
    assert low < 2 < 4 < high
    assert math.isnan(review.compare([3.0], [1.0])[1])
