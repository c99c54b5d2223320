"""What every piece of work is given: where the data are, and how to say how far it is."""

from collections.abc import Callable
from dataclasses import dataclass

from workbench.config import Home
from workbench.db import Database

# (done, total, message). Call it as often as is handy: it throttles itself. Raises Cancelled when asked to stop.
Progress = Callable[[int, int, str], None]


# (epoch, accuracy and loss on validation, none without such images), after its checkpoint stands. Raises Cancelled to
# end the training there.
EpochWatch = Callable[[int, float | None, float | None], None]


def no_progress(done: int, total: int, message: str = "") -> None:
    """For callers that do not show any."""


def no_watch(epoch: int, accuracy: float | None, loss: float | None) -> None:
    """For trainings that nobody stops early."""


@dataclass(frozen=True)
class Context:
    """Work opens short transactions on `database`, never one while it computes."""

    database: Database
    home: Home
    progress: Progress = no_progress
    user_id: int | None = None  # who asked for it; none is the admin
    on_epoch: EpochWatch = no_watch
