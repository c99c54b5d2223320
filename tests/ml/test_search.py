"""Proposals and early stops follow from what was tried, and from nothing else."""

import math

import pytest

from ml.search import Search, Span, Tried

SPANS = {
    "learning_rate": Span(low=1e-4, high=1.0, log=True),
    "batch_size": Span(values=(16, 32)),
    "width": Span(low=8, high=64, step=8),
}


def curve(settings: dict[str, object], epochs: int) -> list[float]:
    """The nearer to a rate of 0.01, the better, and better with each epoch."""
    distance = abs(math.log10(float(str(settings["learning_rate"]))) + 2)
    return [max(0.0, 0.9 - 0.2 * distance) * epoch / epochs for epoch in range(1, epochs + 1)]


def carry_on(tried: list[Tried], *, until: int, epochs: int = 9, seed: int = 0) -> list[Tried]:
    """The search with its runs up to that number; made anew before each run, as after a kill."""
    tried = list(tried)
    while len(tried) < until:
        search = Search(SPANS, goal="accuracy", epochs=epochs, seed=seed, tried=tried)
        settings = search.propose()
        seen: list[float] = []
        ended = "done"
        for epoch, value in enumerate(curve(settings, epochs), 1):
            seen.append(value)
            if search.report(epoch, value):
                ended = "stopped"
                break
        tried.append(Tried(settings, seen, ended))
    return tried


def go_through(*, until: int, epochs: int = 9) -> list[Tried]:
    """The same in one search that is never made anew."""
    search = Search(SPANS, goal="accuracy", epochs=epochs)
    tried = []
    for _ in range(until):
        settings = search.propose()
        assert search.propose() == settings
        seen: list[float] = []
        ended = "done"
        for epoch, value in enumerate(curve(settings, epochs), 1):
            seen.append(value)
            if search.report(epoch, value):
                ended = "stopped"
                break
        search.finish(ended, seen[-1])
        tried.append(Tried(settings, seen, ended))
    return tried


def test_a_search_made_anew_before_each_run_goes_on_as_if_undisturbed() -> None:
    assert carry_on([], until=20) == go_through(until=20)


def test_most_runs_are_stopped_and_the_best_finds_its_way() -> None:
    tried = go_through(until=30)
    ended = [each.ended for each in tried]
    assert 3 <= ended.count("done") < ended.count("stopped")
    best = max((each for each in tried if each.ended == "done"), key=lambda each: each.curve[-1])
    assert 0.003 < best.settings["learning_rate"] < 0.03
    assert max(each.curve[-1] for each in tried) == best.curve[-1]


def test_values_stay_in_their_ranges_and_keep_their_kind() -> None:
    for each in go_through(until=12):
        assert 1e-4 <= each.settings["learning_rate"] <= 1.0
        assert each.settings["batch_size"] in (16, 32)
        assert each.settings["width"] in range(8, 65, 8)
        assert isinstance(each.settings["width"], int)


def test_another_seed_proposes_other_settings() -> None:
    assert (
        Search(SPANS, goal="accuracy", epochs=3, seed=1).propose() != Search(SPANS, goal="accuracy", epochs=3).propose()
    )


def test_a_run_that_began_with_other_settings_counts_as_it_was() -> None:
    odd = {"learning_rate": 0.5, "batch_size": 32, "width": 8}
    search = Search(SPANS, goal="accuracy", epochs=3, tried=[Tried(odd, [0.1, 0.2, 0.3], "done")])
    search.begin(odd)
    assert search.propose() == odd


def test_for_a_loss_less_is_better() -> None:
    spans = {"rate": Span(low=0.0, high=1.0)}
    tried = [Tried({"rate": number / 20}, [2.0, 1.0, number / 20], "done") for number in range(1, 20)]
    wins = sum(
        Search(spans, goal="loss", epochs=3, seed=seed, tried=tried).propose()["rate"] < 0.5 for seed in range(12)
    )
    assert wins >= 9


def test_what_has_failed_or_diverged_is_no_example_to_follow() -> None:
    spans = {"rate": Span(low=0.0, high=1.0)}
    search = Search(spans, goal="loss", epochs=3, tried=[Tried({"rate": 0.5}, [], "failed")])
    search.propose()
    assert search.report(1, float("nan"))
    search.finish("failed")
    assert 0.0 <= search.propose()["rate"] <= 1.0


def test_one_epoch_leaves_nothing_to_stop() -> None:
    search = Search({"rate": Span(values=(1, 2))}, goal="accuracy", epochs=1)
    for _ in range(5):
        search.propose()
        assert not search.report(1, 0.5)
        search.finish("done", 0.5)


def test_what_goes_wrong_is_told() -> None:
    with pytest.raises(ValueError, match="the range of rate cannot be searched"):
        Search({"rate": Span(low=0.0, high=1.0, log=True)}, goal="accuracy", epochs=3)
    with pytest.raises(ValueError, match="no run of the search is under way"):
        Search(SPANS, goal="accuracy", epochs=3).report(1, 0.5)
