"""What is known about a run, gathered once for all checks and only as far as they ask."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.models import Dataset, Run
from workbench.queries import decisions as log
from workbench.services.evaluations import Judged, judge
from workbench.services.leaks import RunLeak, measure_run
from workbench.services.predictions import Predictions, load_predictions
from workbench.services.probes import Probe, load_probe
from workbench.services.training_sets import TrainingSet, find_training_set

EXTERNAL = "external"  # the architecture of runs whose predictions were made elsewhere


@dataclass
class Facts:
    """One run. Everything below is read when first asked for."""

    session: Session
    home: Home
    run: Run

    @property
    def is_external(self) -> bool:
        return self.run.arch == EXTERNAL

    @property
    def metrics(self) -> dict[str, Any]:
        return self.run.metrics or {}

    @property
    def claims(self) -> dict[str, Any]:
        """What others say of the predictions, by dotted name."""
        return dict(self.run.config.get("claims", {}))

    @property
    def imported(self) -> dict[str, Any]:
        """What was seen while predictions made elsewhere were read; empty for runs of our own."""
        return dict(self.run.config.get("import", {}))

    @property
    def split(self) -> str:
        return str(self.run.config["evaluation"]["split"])

    @cached_property
    def dataset(self) -> Dataset:
        return self.session.get_one(Dataset, self.run.dataset_id)

    @cached_property
    def head(self) -> int:
        """The newest decision of the data set."""
        return log.get_last_id(self.session, dataset_id=self.run.dataset_id)

    @cached_property
    def said(self) -> Predictions:
        return load_predictions(self.home, self.run.id)

    @cached_property
    def images(self) -> TrainingSet:
        return find_training_set(self.session, self.home, self.run)

    @cached_property
    def judged(self) -> Judged:
        """What the run said of the images that it was measured on, beside their newest labels."""
        return judge(self.session, self.home, self.run, image_ids=self.images.measured.tolist())

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """Counts of images by label and prediction, (K, K)."""
        count = len(self.judged.class_ids)
        cells = self.judged.labels * count + self.judged.probs.argmax(1)
        return np.bincount(cells, minlength=count * count).reshape(count, count)

    @cached_property
    def leak(self) -> RunLeak | None:
        return measure_run(self.session, self.home, self.run)

    @cached_property
    def probe(self) -> Probe | None:
        """What the model answered when it was asked again; none if it never was, or files changed since."""
        return load_probe(self.home, self.run.id)

    @property
    def unprobed(self) -> str:
        """Why nothing is known that only the model can tell."""
        if self.is_external:
            return "its predictions were made elsewhere, and the model is not here"
        return "the model was not asked since its files were written: workbench evaluate asks it"
