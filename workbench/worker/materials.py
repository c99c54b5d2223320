"""What a run trains on: its order, and the images of its version with what each of them is for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from ml.configs import TrainConfig, make_config
from ml.images import Unreadable, load_batch
from workbench import storage
from workbench.config import Home
from workbench.errors import Invalid, WorkbenchError
from workbench.models import Dataset
from workbench.queries import runs as queries
from workbench.services import copies, runs, training_sets
from workbench.services.architectures import ABOVE_RUNS, ENSEMBLE
from workbench.services.data_steps import DataSteps, steps_of
from workbench.services.versions import VersionRow, states_at
from workbench.worker.context import Context
from workbench.worker.teaching import Evidence, aim, choose, fill, read_evidence, weigh

SIZE_STEP = 16  # the default image size is a multiple of it
SIZES = {"quick": (32, 96), "standard": (32, 128), "thorough": (32, 128), "retrain": (32, 128)}  # by default
# what a run sees it sees like the one it starts from, with a network of the same shape
INHERITED = ("image_size", "channels", "widths", "hidden", "dropout", "flip", "mask")
_CHUNK = 1000


@dataclass(frozen=True)
class Material:
    """The N images of the run's version that could be read, in the order of image ids, then V variants of some.

    Arrays of length N + V hold both; a variant has the label, group, weight and target of its parent.
    """

    rows: list[VersionRow]  # N
    images: NDArray[np.uint8]  # (N + V, C, S, S)
    labels: NDArray[np.int64]  # (N + V,) column, -1 where the image may neither teach nor test
    parents: NDArray[np.int64]  # (V,) row of each variant's image
    weights: NDArray[np.float32] | None  # (N + V,) none where all count the same
    targets: NDArray[np.float32] | None  # (N + V, K) none where these are the labels
    training: NDArray[np.int64]  # rows that teach
    validation: NDArray[np.int64]  # rows for the curves
    evaluation: NDArray[np.int64]  # rows that the run is measured on
    groups: NDArray[np.int64]  # (N + V,) equal for copies of one picture
    left_out: NDArray[np.int64]  # rows of the train split that do not teach because their copy is measured on
    inherited: int  # images of the split that are not measured on because the run started from one that knows them
    unreadable: list[str]  # paths
    stepped: dict[str, int]  # images that the data steps did something to, by what it was

    @property
    def taught(self) -> NDArray[np.int64]:
        """The images that teach, without variants."""
        return self.training[self.training < len(self.rows)]

    def count(self) -> dict[str, Any]:
        """What became of the version's images, for the run's page."""
        return {
            "images": len(self.rows) + len(self.unreadable),
            "unreadable": len(self.unreadable),
            "unreadable_paths": self.unreadable[:20],
            # excluded, ambiguous, unlabelled or of a closed class
            "not_usable": int((self.labels[: len(self.rows)] < 0).sum()),
            "leaked": len(self.left_out),
            "inherited": self.inherited,
            "trained": len(self.taught),
            "validation": len(self.validation),
            "evaluated": len(self.evaluation),
            "variants": len(self.parents),
            **self.stepped,
        }


@dataclass(frozen=True)
class Order:
    """What the row of a run asks for, read once."""

    run_id: int
    arch: str
    preset: str
    from_run_id: int | None
    config: dict[str, Any]
    rows: list[VersionRow]
    shapes: dict[int, tuple[int, int, str]]
    near: dict[int, int]
    links: list[list[int]]  # near copies, asked for where they are to be left out
    inherited: dict[int, str]  # images that the runs it starts from were trained on, and their pixels
    like: dict[str, Any]  # settings of the run it starts from, as resolved
    steps: DataSteps
    evidence: Evidence

    @property
    def class_ids(self) -> list[int]:
        return [int(cls["id"]) for cls in self.config["classes"]]

    @property
    def class_names(self) -> list[str]:
        return [str(cls["name"]) for cls in self.config["classes"]]

    @property
    def split(self) -> str:
        return str(self.config["evaluation"]["split"])

    @property
    def leave_out(self) -> str:
        return str(self.config.get("leave_out", "exact"))

    @property
    def frozen(self) -> str | None:
        """The split that only the evaluation at the end may read."""
        return self.split if self.config["evaluation"].get("frozen") else None


def read_order(session: Session, home: Home, run_id: int) -> Order:
    run = queries.get_run(session, run_id)
    dataset = session.get_one(Dataset, run.dataset_id)
    ancestors = queries.list_ancestors(session, run)
    inherited: dict[int, str] = {}
    for ancestor in ancestors:
        inherited |= training_sets.list_taught(session, home, ancestor)
    class_ids = [int(cls["id"]) for cls in run.config["classes"]]
    steps = steps_of(run)
    return Order(
        run_id=run.id,
        arch=run.arch,
        preset=run.preset,
        from_run_id=run.from_run_id,
        config=run.config,
        rows=states_at(session, dataset, run.decision_id),
        shapes=queries.list_shapes(session, dataset_id=dataset.id),
        near=queries.list_near_groups(session, dataset_id=dataset.id),
        links=copies.list_links(session, dataset) if run.config.get("leave_out") == "near" else [],
        inherited=inherited,
        like=ancestors[0].config.get("training", {}) if ancestors else {},
        steps=steps,
        evidence=read_evidence(session, home, run_id=run.id, dataset_id=dataset.id, steps=steps, class_ids=class_ids),
    )


def resolve_config(order: Order) -> TrainConfig:
    """The preset with what was asked for; size and channels follow the run it starts from, else the images.

    What is built on runs sees the images as they do; a head has some settings of its own, an ensemble none.
    """
    if order.arch in ABOVE_RUNS:
        own = {"arch": ENSEMBLE} if order.arch == ENSEMBLE else order.config["overrides"]
        passes = {"epochs": 1, "min_steps": 0, "patience": 0, "seed": order.config["seed"]}
        return make_config(order.preset, **{**order.like, **passes, **own})
    shapes = [order.shapes[row.image_id] for row in order.rows]
    overrides = {"image_size": default_size(shapes, preset=order.preset), "channels": default_channels(shapes)}
    overrides |= {name: order.like[name] for name in INHERITED if name in order.like}
    overrides |= order.config["overrides"]
    return make_config(order.preset, arch=order.arch, seed=order.config["seed"], **overrides)


def default_size(shapes: Sequence[tuple[int, int, str]], *, preset: str) -> int:
    """The median of the longer sides, rounded up to a multiple of 16, within what the preset has time for."""
    low, high = SIZES[preset]
    median = float(np.median([max(width, height) for width, height, _ in shapes]))
    return int(np.clip(SIZE_STEP * np.ceil(median / SIZE_STEP), low, high))


def default_channels(shapes: Sequence[tuple[int, int, str]]) -> int:
    """1 if every image is grey."""
    return 1 if {mode for _, _, mode in shapes} <= {"L", "I;16"} else 3


def gather(context: Context, order: Order, config: TrainConfig) -> Material:
    images, rows, unreadable = _load(context, order.rows, config)
    column = {class_id: index for index, class_id in enumerate(order.class_ids)}
    usable = [runs.is_trainable(row, column) for row in rows]
    labels = np.array([column[row.class_id or 0] if ok else -1 for row, ok in zip(rows, usable, strict=True)], np.int64)
    measurable = [i for i, row in enumerate(rows) if usable[i] and runs.in_split(row, order.split)]
    known = set(order.inherited.values())
    evaluation = [index for index in measurable if rows[index].pixel_sha256 not in known]
    if order.frozen and len(evaluation) < len(measurable):
        raise Invalid(
            f"The run to start from was trained on {len(measurable) - len(evaluation):,} images of {order.frozen}, "
            "which is frozen; start from another run, or from none."
        )
    measured = set(measurable)
    has_train = runs.rows_have_train(order.rows)
    teaching = [i for i, row in enumerate(rows) if usable[i] and runs.in_training(row, has_train) and i not in measured]
    copied = _list_copied(order, rows, teaching, measurable)
    teachers = [index for index in teaching if index not in copied]
    chosen = choose(
        rows, labels, teaching=teachers, steps=order.steps, evidence=order.evidence, seed=order.config["seed"]
    )
    watched = "validation" if order.frozen != "validation" else ""  # what the curves and early stopping may read
    validation = [i for i, row in enumerate(rows) if usable[i] and row.split == watched]
    plain = Material(
        rows=rows,
        images=images,
        labels=labels,
        parents=np.empty(0, np.int64),
        weights=weigh(rows, order.steps, order.evidence),
        targets=None,
        training=chosen.rows,
        validation=np.array(validation, np.int64),
        evaluation=np.array(evaluation, np.int64),
        groups=_group(rows, order.near),
        left_out=np.array([index for index in teaching if index in copied], np.int64),
        inherited=len(measurable) - len(evaluation),
        unreadable=unreadable,
        stepped={"dropped": chosen.dropped, "weighed": chosen.weighed, "capped": chosen.capped},
    )
    return _add_variants(_add_targets(plain, order), order)


def _add_targets(material: Material, order: Order) -> Material:
    aims = aim(
        material.rows,
        material.labels,
        training=material.training,
        steps=order.steps,
        evidence=order.evidence,
        class_count=len(order.class_ids),
    )
    both = [weights for weights in (material.weights, aims.weights) if weights is not None]
    weights = np.prod(both, axis=0) if both else None
    return replace(material, targets=aims.targets, weights=weights, stepped={**material.stepped, **aims.counts})


def _add_variants(material: Material, order: Order) -> Material:
    variants, parents = fill(
        material.images,
        material.labels,
        training=material.training,
        steps=order.steps,
        seed=order.config["seed"],
    )
    if len(parents) == 0:
        return material

    def extend(values: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([values, values[parents]])

    added = np.arange(len(material.rows), len(material.rows) + len(parents))
    return replace(
        material,
        images=np.concatenate([material.images, variants]),
        labels=extend(material.labels),
        groups=extend(material.groups),
        weights=None if material.weights is None else extend(material.weights),
        targets=None if material.targets is None else extend(material.targets),
        training=np.concatenate([material.training, added]),
        parents=parents,
    )


def _list_copied(
    order: Order, rows: Sequence[VersionRow], teaching: Sequence[int], measured: Sequence[int]
) -> set[int]:
    """Of the rows that could teach, those that show a picture which is measured on, as far as the run is to mind."""
    if order.leave_out == "none":
        return set()
    by_id = {rows[index].image_id: index for index in teaching}
    pixels = {row.image_id: row.pixel_sha256 for row in rows}
    tested = [(rows[index].image_id, rows[index].pixel_sha256) for index in measured]
    found = copies.find_copies(pixels, links=order.links, taught=tested)
    return {index for image_id, index in by_id.items() if image_id in found}


def _load(
    context: Context, rows: Sequence[VersionRow], config: TrainConfig
) -> tuple[NDArray[np.uint8], list[VersionRow], list[str]]:
    """The images as one array, the rows that it holds, and the paths of those that can no longer be read."""
    kept: list[VersionRow] = []
    unreadable: list[str] = []
    blocks = [np.zeros((0, config.channels, config.image_size, config.image_size), np.uint8)]
    for start in range(0, len(rows), _CHUNK):
        context.progress(0, 0, f"Reading images: {start:,} of {len(rows):,}")
        chunk = rows[start : start + _CHUNK]
        try:
            blocks.append(_decode(context, chunk, config))
            kept += chunk
        except (Unreadable, WorkbenchError, OSError):
            for row in chunk:
                try:
                    blocks.append(_decode(context, [row], config))
                    kept.append(row)
                except (Unreadable, WorkbenchError, OSError):
                    unreadable.append(row.path)
    return np.concatenate(blocks), kept, unreadable


def _decode(context: Context, rows: Sequence[VersionRow], config: TrainConfig) -> NDArray[np.uint8]:
    sources = (
        storage.read_file(context.home, path=row.path, location=row.location, file_sha256=row.file_sha256)
        for row in rows
    )
    return load_batch(sources, size=config.image_size, channels=config.channels)


def _group(rows: Sequence[VersionRow], near: dict[int, int]) -> NDArray[np.int64]:
    """Copies share a number: those of equal pixels, and those in one group of near duplicates."""
    keys = [f"group {near[row.image_id]}" if row.image_id in near else row.pixel_sha256 for row in rows]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.int64)


def check_material(material: Material) -> None:
    taught = np.unique(material.labels[material.training])
    if len(taught) < 2:
        lost = f" ({len(material.unreadable):,} could not be read)" if material.unreadable else ""
        raise Invalid(f"Fewer than two classes have images left to train on{lost}; add images or build splits.")
