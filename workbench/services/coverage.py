"""What became of every image on the way from the files to the number: no stage may lose any unseen."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.models import Run
from workbench.queries import evaluations as queries
from workbench.services.evaluations import judge
from workbench.services.runs import HELD_OUT


@dataclass(frozen=True)
class Part:
    """Some of the images of a stage. kept: whether they go on to what follows."""

    words: str
    n: int
    kept: bool = False


@dataclass(frozen=True)
class Stage:
    """`total` images and what became of them: its parts sum to it."""

    name: str
    total: int
    parts: list[Part]

    @property
    def kept(self) -> int:
        return sum(part.n for part in self.parts if part.kept)


def measure_coverage(session: Session, home: Home, run: Run) -> list[Stage]:
    """From the files found to the images tested on. The last stage is as labels and splits stand now."""
    stages = [_count_sources(session, run), *_count_training(run)]
    tested = _count_tested(session, home, run)
    return [stage for stage in (*stages, tested) if stage.total]


def _stage(name: str, total: int, kept: dict[str, int], lost: dict[str, int], *, rest: str) -> Stage:
    """rest: what those are called that are in none of the parts. Parts without images are left out."""
    known = sum(kept.values()) + sum(lost.values())
    parts = [Part(words, n, kept=True) for words, n in kept.items()]
    parts += [Part(words, n) for words, n in {**lost, rest: total - known}.items()]
    return Stage(name, total, [part for part in parts if part.n])


def _count_sources(session: Session, run: Run) -> Stage:
    """decoded + refused = found; a file met again with the same bytes is no second image."""
    files = queries.sum_imports(session, run.dataset_id)
    lost = {"refused": files.refused, "of a class that was left out": files.dropped}
    kept = {"imported": files.imported}
    return _stage("Files found", files.found - files.known, kept, lost, rest="not accounted for")


def _count_training(run: Run) -> list[Stage]:
    counts = run.config.get("counts")
    if not counts:
        return []
    usable = counts["images"] - counts["not_usable"] - counts["unreadable"]
    version = _stage(
        "Images of the version",
        counts["images"],
        {"usable": usable},
        {"excluded, ambiguous or without a label": counts["not_usable"], "no longer readable": counts["unreadable"]},
        rest="not accounted for",
    )
    split = run.config["evaluation"]["split"]
    watched = counts["validation"] if split != "validation" else 0
    used = _stage(
        "Usable images",
        usable,
        {
            "trained on": counts["trained"],
            "measured on": counts["evaluated"],
            "watched while it trained (validation)": watched,
        },
        {
            "left out as copies of images measured on": counts["leaked"],
            "known to the run that it began from": counts.get("inherited", 0),
            "dropped because their label looks wrong": counts.get("dropped", 0),
            "more than the most of a class": counts.get("capped", 0),
        },
        rest="neither taught nor measured on",
    )
    return [version, used]


def _count_tested(session: Session, home: Home, run: Run) -> Stage:
    split = run.config["evaluation"]["split"]
    judged = judge(session, home, run)
    if split == HELD_OUT:
        return Stage(f"Images {split}", len(judged.image_ids), [Part("tested on", len(judged.image_ids), kept=True)])
    states = queries.count_states(
        session, dataset_id=run.dataset_id, split=split, class_ids=[int(cls) for cls in judged.class_ids]
    )
    tested = len(judged.image_ids)
    return _stage(
        f"Images of {split} now",
        states.images,
        {"tested on": tested},
        {
            "excluded": states.excluded,
            "ambiguous": states.ambiguous,
            "without a label": states.unlabelled,
            "not predicted unseen": states.usable - tested,
        },
        rest="of a class that the run does not know",
    )


def report(stages: list[Stage]) -> list[dict[str, Any]]:
    """JSON-able: the stages in their order, each with its number and what it is made of."""
    return [
        {
            "stage": stage.name,
            "n": stage.total,
            "parts": [{"part": part.words, "n": part.n, "kept": part.kept} for part in stage.parts],
        }
        for stage in stages
    ]
