"""Server and worker are killed while eight reviewers decide and their connections are cut; see tests/kills.py."""

from pathlib import Path

from tests import kills


def test_no_answered_decision_is_lost_or_doubled_whatever_is_killed(tmp_path: Path) -> None:
    outcome = kills.run(tmp_path, kills=5, seed=4)
    assert kills.find_faults(tmp_path, outcome) == []
    assert sum(outcome.killed.values()) == 5
    assert sum(len(client.saved) for client in outcome.clients) > 50
