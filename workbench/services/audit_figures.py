"""Every figure of an audit, worked out from its sample, its frame and the verdicts alone: the same again each time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.models import SPLITS
from workbench.services.agreement_figures import Figure, measure_alpha, measure_shared
from workbench.services.audit_estimates import Assistant, Estimate, Sample, estimate_among, estimate_plain
from workbench.services.audit_frames import Frame
from workbench.services.audit_verdicts import KINDS, Reading

FEWEST = 20  # verdicts before anything is said of all images
MOST_CORRECTIONS = 12


@dataclass(frozen=True)
class Part:
    """The images of one class or one split. `estimate` is none where the sample holds none of them."""

    name: str
    class_id: int | None
    split: str | None
    images: int
    estimate: Estimate | None


@dataclass(frozen=True)
class Accuracy:
    """How often the run is right, by the labels that the verdicts put right and by those of the version audited."""

    split: str | None  # none for all of them
    corrected: Estimate
    given: Estimate


@dataclass(frozen=True)
class Figures:
    """What an audit says, and as of which versions. `rate` and what follows are none before FEWEST verdicts.

    `rate` is the narrower estimate where a run's P(wrong) helped to draw the sample, `plain` does without it. `wrong`
    and `kinds` count verdicts, all estimates speak of all images.
    """

    audit_id: int
    dataset_version: int
    content_hash: str
    verdict_version: int
    run_id: int | None
    size: int
    answered: int
    elsewhere: int  # verdicts that were not given blind in the audit's queue
    images: int
    left_out: dict[str, int]
    wrong: int
    kinds: dict[str, int]
    corrections: tuple[tuple[str, str, int], ...]  # (given, shown, verdicts), most often first
    rate: Estimate | None
    plain: Estimate | None
    ambiguous: Estimate | None
    classes: tuple[Part, ...]
    splits: tuple[Part, ...]
    accuracies: tuple[Accuracy, ...]
    agreement: Figure | None  # the share of pairs of opinions that are alike
    alpha: Figure | None

    @property
    def missing(self) -> int:
        return self.size - self.answered

    @property
    def is_complete(self) -> bool:
        return self.missing == 0

    @property
    def is_assisted(self) -> bool:
        return self.run_id is not None

    def report(self) -> dict[str, Any]:
        """As plain values, everything that there is."""
        return asdict(self)


def work_out(reading: Reading) -> Figures:
    answered, audit, frame = reading.answered, reading.audit, reading.frame
    sample = _take(reading, [verdict.wrong for verdict in answered])
    enough = len(answered) >= min(FEWEST, len(reading.verdicts)) and bool(answered)
    helper = Assistant(frame, sample) if enough and audit.run_id is not None else None
    said = [verdict.said for verdict in reading.verdicts if len(verdict.said) > 1]
    plain = estimate_plain(frame, sample) if enough else None
    return Figures(
        audit_id=audit.id,
        dataset_version=audit.decision_id,
        content_hash=audit.content_hash,
        verdict_version=reading.decision_id,
        run_id=audit.run_id,
        size=len(reading.verdicts),
        answered=len(answered),
        elsewhere=sum(not verdict.is_own for verdict in answered),
        images=frame.images,
        left_out=audit.frame["left_out"],
        wrong=sum(verdict.wrong for verdict in answered),
        kinds={kind: sum(verdict.kind == kind for verdict in answered) for kind in KINDS},
        corrections=_count_corrections(reading),
        rate=helper.estimate() if helper else plain,
        plain=plain,
        ambiguous=estimate_plain(frame, _take(reading, [v.kind == "ambiguous" for v in answered])) if enough else None,
        classes=tuple(_list_classes(reading, sample, helper)) if enough else (),
        splits=tuple(_list_splits(frame, sample, helper)) if enough else (),
        accuracies=tuple(_list_accuracies(reading)) if enough else (),
        agreement=measure_shared(_tally(said)) if said else None,
        alpha=measure_alpha(_tally(said)) if said else None,
    )


def _take(reading: Reading, is_so: Sequence[bool]) -> Sample:
    """The answered images, and whether something is so of each."""
    strata = reading.frame.strata
    drawn = np.bincount(
        strata[[verdict.cell for verdict in reading.verdicts]], minlength=len(reading.frame.stratum_counts)
    )
    cells = np.array([verdict.cell for verdict in reading.answered], np.int64)
    return Sample(cells, np.array(is_so, np.bool_), drawn.astype(np.int64))


def _estimate(frame: Frame, sample: Sample, helper: Assistant | None, domain: NDArray[np.bool_]) -> Estimate | None:
    return helper.estimate(domain) if helper else estimate_plain(frame, sample, domain=domain)


def _list_classes(reading: Reading, sample: Sample, helper: Assistant | None) -> list[Part]:
    frame = reading.frame
    found = []
    for class_id in np.unique(frame.class_ids).tolist():
        domain = frame.class_ids == class_id
        estimate = _estimate(frame, sample, helper, domain)
        images = int(frame.counts[domain].sum())
        found.append(Part(reading.names.get(class_id, ""), class_id, None, images, estimate))
    return found


def _list_splits(frame: Frame, sample: Sample, helper: Assistant | None) -> list[Part]:
    found = []
    for split in (*SPLITS, None):
        domain = np.array([name == split for name in frame.splits])
        if domain.any():
            estimate = _estimate(frame, sample, helper, domain)
            found.append(Part(split or "in no split", None, split, int(frame.counts[domain].sum()), estimate))
    return found


def _count_corrections(reading: Reading) -> tuple[tuple[str, str, int], ...]:
    pairs = Counter(
        (reading.names[verdict.given_id], reading.name_shown(verdict)) for verdict in reading.answered if verdict.wrong
    )
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple((given, to, count) for (given, to), count in ordered[:MOST_CORRECTIONS])


def _list_accuracies(reading: Reading) -> list[Accuracy]:
    """Over the images that show one class and that the run had not learnt from, all of them and each split."""
    answered = reading.answered
    judged = np.array([verdict.predicted_id is not None and verdict.class_id is not None for verdict in answered])
    corrected = _take(reading, [verdict.predicted_id == verdict.class_id for verdict in answered])
    given = _take(reading, [verdict.predicted_id == verdict.given_id for verdict in answered])
    splits = [reading.frame.splits[verdict.cell] for verdict in answered]
    present = [split for split in SPLITS if split in splits]
    found = []
    for split in (None, *present) if len(present) > 1 else (None,):
        inside = judged & np.array([split is None or own == split for own in splits])
        right, as_given = (estimate_among(reading.frame, each, inside) for each in (corrected, given))
        if right is not None and as_given is not None and right.n >= FEWEST:
            found.append(Accuracy(split, right, as_given))
    return found


def _tally(said: Sequence[Sequence[Any]]) -> NDArray[np.int64]:
    """How many reviewers said each thing of each image, (N, K)."""
    things = sorted({thing for one in said for thing in one}, key=repr)
    place = {thing: column for column, thing in enumerate(things)}
    counts = np.zeros((len(said), len(things)), np.int64)
    for row, one in enumerate(said):
        for thing in one:
            counts[row, place[thing]] += 1
    return counts
