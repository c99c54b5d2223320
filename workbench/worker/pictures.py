"""Pictures of a data set as a model takes them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ml.configs import TrainConfig
from ml.images import Unreadable, load_batch
from workbench import storage
from workbench.config import Home
from workbench.errors import WorkbenchError
from workbench.services.versions import VersionRow


def load_pictures(
    home: Home, rows: Sequence[VersionRow], config: TrainConfig
) -> tuple[NDArray[np.uint8], list[VersionRow]]:
    """uint8 (N, C, S, S) and the rows that it holds: what can no longer be read is left out."""
    blocks = [np.zeros((0, config.channels, config.image_size, config.image_size), np.uint8)]
    kept = []
    for row in rows:
        try:
            data = storage.read_file(home, path=row.path, location=row.location, file_sha256=row.file_sha256)
            blocks.append(load_batch([data], size=config.image_size, channels=config.channels))
            kept.append(row)
        except (Unreadable, WorkbenchError, OSError):
            continue
    return np.concatenate(blocks), kept
