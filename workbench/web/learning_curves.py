"""The curves of a training as charts: while it runs, when it broke off, and afterwards."""

from collections.abc import Sequence

from workbench.services.curves import Epoch
from workbench.web import charts
from workbench.web.charts import LineChart, Series


def draw_curves(curves: Sequence[Epoch], chance: float | None = None, *, with_rate: bool = False) -> list[LineChart]:
    """Accuracy and loss by epoch, training beside validation; empty before the first epoch.

    with_rate: the learning rate too, where it changed.
    """
    if not curves:
        return []
    x = [float(epoch.epoch) for epoch in curves]
    span = (1.0, float(max(curves[-1].epochs, 2)))
    has_validation = any(epoch.validation_loss is not None for epoch in curves)

    def pair(measure: str) -> list[Series]:
        found = [Series("training", [getattr(epoch, f"train_{measure}") for epoch in curves], "quiet")]
        if has_validation:
            found.append(Series("validation", [getattr(epoch, f"validation_{measure}") for epoch in curves], "a"))
        return found

    rates = [epoch.learning_rate for epoch in curves]
    base = (chance, "chance") if chance is not None else None
    found = [
        charts.line_chart("Accuracy", pair("accuracy"), x=x, x_name="Epoch", percent=True, baseline=base, x_range=span),
        charts.line_chart("Loss", pair("loss"), x=x, x_name="Epoch", x_range=span),
    ]
    if with_rate and len(set(rates)) > 1:
        line = [Series("learning rate", rates, "a")]
        found.append(charts.line_chart("Learning rate", line, x=x, x_name="Epoch", x_range=span))
    return found
