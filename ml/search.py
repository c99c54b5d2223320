"""Which settings to try next, and which training to stop early: Optuna's TPE under Hyperband.

Nothing is kept here. A search is made anew from what its runs came to so far, and the random numbers of a proposal
follow from (seed, number of the run): killed at any moment and made again, it goes on as if undisturbed.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState

GOALS = {"accuracy": optuna.study.StudyDirection.MAXIMIZE, "loss": optuna.study.StudyDirection.MINIMIZE}


@dataclass(frozen=True)
class Span:
    """The values that a setting may take: those named, else all numbers from low to high, both allowed."""

    values: tuple[Any, ...] = ()  # booleans, numbers or words
    low: float = 0.0
    high: float = 0.0
    log: bool = False  # evenly by ratio
    step: float | None = None  # whole numbers if low, high and step are


@dataclass(frozen=True)
class Tried:
    """What became of a run of the search."""

    settings: Mapping[str, Any]
    curve: Sequence[float]  # the goal's measure on validation after each epoch
    ended: str  # "done", "stopped" by the search, or "failed"


@dataclass
class Search:
    """A search as it stands after the runs `tried`, in the order in which they were proposed.

    spans: setting -> Span, at least one. goal: "accuracy" (more is better) or "loss". epochs: of a whole run, at least
    1. least: epochs that every run gets. keep: of so many runs Hyperband lets about one go on, at least 2.
    Deterministic: equal arguments give equal proposals and equal stops.
    Cost: about a millisecond for each epoch of each run tried. Raises ValueError for a range that is none.
    Source: Li et al. 2018, Hyperband; Bergstra et al. 2011, TPE; both as Optuna 5 has them.
    """

    spans: Mapping[str, Span]
    goal: str
    epochs: int
    seed: int = 0
    least: int = 1
    keep: int = 3
    tried: Sequence[Tried] = ()
    _study: optuna.Study = field(init=False, repr=False)
    _trial: Trial | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            direction=GOALS[self.goal],
            study_name="search",  # Hyperband deals runs to its brackets by this name and their number
            pruner=optuna.pruners.HyperbandPruner(
                min_resource=self.least, max_resource=max(self.least, self.epochs), reduction_factor=self.keep
            ),
        )
        self._distributions = {name: _distribute(name, span) for name, span in self.spans.items()}
        for tried in self.tried:
            self._replay(tried)

    def propose(self) -> dict[str, Any]:
        """The settings of the next run, by name; the same ones until `finish` has said what became of it."""
        if self._trial is None:
            self._trial = self._ask()
        return dict(self._trial.params)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """The next run has these settings, whatever would be proposed now."""
        self._study.enqueue_trial(dict(settings))
        self._trial = self._ask()

    def report(self, epoch: int, value: float) -> bool:
        """The goal's measure after an epoch (1-based, each once); true if the run should stop here."""
        trial = self._current()
        if not math.isfinite(value):
            return True
        trial.report(value, epoch)
        return epoch < self.epochs and trial.should_prune()

    def finish(self, ended: str, value: float | None = None) -> None:
        """The run is "done" (with its last value), "stopped" or "failed"; `propose` gives another from now on."""
        trial = self._current()
        if ended == "done" and value is not None and math.isfinite(value):
            self._study.tell(trial, value)
        else:
            self._study.tell(trial, state=TrialState.PRUNED if ended == "stopped" else TrialState.FAIL)
        self._trial = None

    def _current(self) -> Trial:
        if self._trial is None:
            raise ValueError("no run of the search is under way")
        return self._trial

    def _ask(self) -> Trial:
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = optuna.samplers.TPESampler(seed=_derive_seed(self.seed, number))
        return self._study.ask(self._distributions)

    def _replay(self, tried: Tried) -> None:
        self.begin(tried.settings)
        for epoch, value in enumerate(tried.curve, 1):
            self.report(epoch, value)
        self.finish(tried.ended, tried.curve[-1] if tried.curve else None)


def _distribute(name: str, span: Span) -> BaseDistribution:
    try:
        if span.values:
            return CategoricalDistribution(span.values)
        if all(isinstance(number, int) for number in (span.low, span.high, span.step or 1)):
            return IntDistribution(int(span.low), int(span.high), log=span.log, step=int(span.step or 1))
        return FloatDistribution(span.low, span.high, log=span.log, step=span.step)
    except ValueError as error:
        raise ValueError(f"the range of {name} cannot be searched: {error}") from error


def _derive_seed(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed}/{number}/search".encode()).digest()
    return int.from_bytes(digest[:4], "big")
