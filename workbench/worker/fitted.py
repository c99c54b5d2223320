"""What fitting leaves, whether a network, a head or an ensemble was fitted: what it says of the run's images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Fitted:
    """N images, K classes, D features, in the order of the material's rows."""

    probs: NDArray[np.float32]  # (N, K)
    features: NDArray[np.float32]  # (N, D)
    images_per_second: float  # while training
    crossed: NDArray[np.bool_]  # (N,) told by models that had not seen the image, although the final one may have
    seconds: float = 0.0  # that no epoch accounts for
