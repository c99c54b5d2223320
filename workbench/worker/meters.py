"""How far a training and its folds are."""

from ml.configs import TrainConfig, plan_passes
from workbench.worker.context import Context
from workbench.worker.materials import Material, Order


class Meter:
    """How far the whole work is, counted in images trained on over all epochs and folds."""

    def __init__(self, context: Context, order: Order, config: TrainConfig, material: Material) -> None:
        image_count, folds = len(material.training), order.config["folds"]
        self._progress = context.progress
        self._epochs = config.epochs
        self._final = config.epochs * plan_passes(config, image_count)[0] * max(2, image_count)
        part = max(1, round(image_count * (folds - 1) / folds)) if folds else 1
        self._folds = folds
        self._crossed = folds * config.epochs * plan_passes(config, part)[0] * max(2, part)
        self.total = self._final + self._crossed

    def train(self, done: int, total: int) -> None:
        epoch = min(self._epochs, 1 + done * self._epochs // total)
        self._progress(done * self._final // total, self.total, f"Epoch {epoch} of {self._epochs}")

    def cross(self, done: int, total: int) -> None:
        fold = min(self._folds, 1 + done * self._folds // total)
        self._progress(self._final + done * self._crossed // total, self.total, f"Fold {fold} of {self._folds}")
