"""What every recipe is given and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import Invalid
from workbench.services.predictions import Predictions

Parse = Callable[[Any], Any]


@dataclass(frozen=True)
class Picked:
    """M images that a worker chose by comparing them with each other, the most wanted first."""

    image_ids: NDArray[np.int64]  # (M,)
    scores: NDArray[np.float32]  # (M,)


@dataclass(frozen=True)
class Pool:
    """The N images that a recipe chooses from, one row each, ascending by id; matches of a filter in its order.

    predictions, against: of the run, and of the run it is compared with, row by row for the same images; their
    `features` are left out. groups: the open duplicate groups, for recipes that ask for them.
    """

    image_ids: NDArray[np.int64]  # (N,)
    label_ids: NDArray[np.int64]  # (N,) 0 for none
    class_names: Mapping[int, str]
    run_id: int | None = None
    predictions: Predictions | None = None
    against_id: int | None = None
    against: Predictions | None = None
    groups: Sequence["PoolGroup"] = ()
    # (N,) whether reviewers said of which one class it is, and whether they contradict each other; only recipes that
    # keep reviewed images meet any
    settled: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    disputed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    findings: Sequence[Any] = ()  # (image, kind, score, reason) of the open ones, for recipes that ask for them
    picked: Picked | None = None  # for recipes that a worker computes
    # (N,) as the pages show it, by the promoted run: NaN for none; recipes that need a run look at what that one says
    p_wrong: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    # (N,) that people would split on the image, as verdicts taught; 0 before
    p_ambiguous: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    # (N,) that the next verdict changes what the image is, as verdicts taught; NaN where P(wrong) is all that is known
    p_hit: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    # for recipes that ask for matches, (N,): what the promoted run says, 0 for nothing
    predicted_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def name(self, class_id: int) -> str:
        return self.class_names.get(class_id, "nothing")

    def labelled(self, row: int) -> str:
        """How a reason ends: what the image is labelled."""
        label_id = int(self.label_ids[row])
        return f"labelled {self.name(label_id)}" if label_id else "not labelled"


@dataclass(frozen=True)
class PoolGroup:
    """A duplicate group as a recipe sees it."""

    id: int
    kind: str
    image_ids: Sequence[int]
    score: float
    p: float
    conflicting: bool
    spanning: bool


@dataclass(frozen=True)
class Candidates:
    """M queue items in their order. reason: the sentence for item m, asked only for those that enter the queue."""

    image_ids: NDArray[np.int64]  # (M,)
    scores: NDArray[np.float32]  # (M,) higher first
    reason: Callable[[int], str]
    p_wrong: NDArray[np.float32] | None = None  # (M,) NaN where unknown
    believed: NDArray[np.float32] | None = None  # (M,) P(wrong) that no card shows, so that nobody is led by it
    suggested_ids: NDArray[np.int64] | None = None  # (M,)
    group_ids: NDArray[np.int64] | None = None  # (M,)


@dataclass(frozen=True)
class Recipe:
    """How a queue is made.

    find: the candidates in a pool, given the parsed params. title: of the queue, given the same.
    params: name -> how its value is read; a param that is not given is left to `find`'s default.
    """

    about: str
    find: Callable[..., Candidates]
    title: Callable[..., str]
    params: Mapping[str, Parse] = field(default_factory=dict)
    needs_run: bool = True
    needs_groups: bool = False
    needs_findings: bool = False
    needs_matches: bool = False  # the pool is what its params, a filter, match
    by_worker: bool = False  # images are compared with each other, which takes what only a worker has
    keeps_reviewed: bool = False  # also images that a reviewer has decided on
    is_offered: bool = True  # by the form on home; else other pages make its queues
    random_share: bool = True  # chance adds images where a run's predictions choose
    default_limit: int | None = None
    flags: Callable[[Mapping[str, Any]], bool] | None = None  # which params let a model's opinion choose

    def follows_flags(self, params: Mapping[str, Any]) -> bool:
        """Whether what a run says chooses or orders the images."""
        return self.needs_run or (self.flags is not None and self.flags(params))


def read_predictions(pool: Pool) -> Predictions:
    if pool.predictions is None:
        raise Invalid("This recipe needs a run; train one first.")
    return pool.predictions


def believe_wrong(pool: Pool) -> NDArray[np.float32]:
    """P(wrong) of each label, float32 (N,); NaN where there is none or the run cannot judge it.

    Where a file of old says nothing, what the label's own class leaves to the others stands for it.
    """
    said = read_predictions(pool)
    is_given = said.class_ids[None, :] == pool.label_ids[:, None]  # (N, K)
    given_p = (said.probs.astype(np.float32) * is_given).sum(1)
    left = np.where(said.out_of_sample, 1 - given_p, np.nan)
    return np.where(pool.label_ids != 0, np.where(np.isnan(said.p_wrong), left, said.p_wrong), np.nan).astype(
        np.float32
    )


def judge(said: Predictions) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The class that each image is taken for and how surely, (N,) each, by what its label is judged by.

    Of images that the model has not seen that is its prediction, of the others what it said while it learned from them.
    """
    probs = np.where(said.out_of_sample[:, None], said.probs, said.judging)
    return said.class_ids[probs.argmax(1)], probs.max(1).astype(np.float32)


def top(scores: NDArray[Any], image_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order from the highest score down, ties by image id. scores: (N,), NaN last. Returns rows, int64 (N,)."""
    order: NDArray[np.int64] = np.lexsort((image_ids, -np.nan_to_num(scores, nan=-np.inf)))
    return order
