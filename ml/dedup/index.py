"""Looking vectors up among many: faiss, through cells once there are too many to compare one by one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.dedup.descriptors import to_unit

_FEW = 4096  # vectors that are compared one by one
_PAYS = 4  # lookups for which an inverted file is built: a quarter of the vectors
_LARGEST_CELLS = 2048
_SEEN = 131_072  # vectors that the cells are learned from
_CHUNK = 65_536


def build_index(vectors: NDArray[np.floating[Any]], *, lookups: int) -> Any:
    """A faiss index of float (N, D) vectors, brought to length 1, D even; `search` gives the largest cosines.

    lookups: how many vectors will be looked up. Beyond 4,096 vectors, if so many are that it pays, an inverted file of
    at most 2,048 cells, whose `nprobe` says how many a search looks into, with four bits for every two coordinates: its
    cosines are rough, to be computed again for what it finds. One thread, so that it is deterministic and leaves the
    other cores alone. Time O(N), memory D / 4 + 8 bytes a vector, or 4 D without cells.
    """
    import faiss

    faiss.omp_set_num_threads(1)
    count, length = vectors.shape
    index: Any = faiss.IndexFlatIP(length)
    if count > _FEW and lookups * _PAYS > count:
        cells = min(_LARGEST_CELLS, 2 ** int(np.log2(np.sqrt(count) * 3)))
        index = faiss.IndexIVFPQFastScan(index, length, cells, length // 2, 4, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = False  # one table a query, not one a cell
        index.cp.niter, index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 5, 1, 32
        index.train(to_unit(vectors[:: max(1, count // _SEEN)].astype(np.float32)))
    for start in range(0, count, _CHUNK):
        index.add(to_unit(vectors[start : start + _CHUNK].astype(np.float32)))
    return index


def find_alike(vectors: NDArray[np.floating[Any]], *, nearest: int, least: float) -> NDArray[np.int64]:
    """Pairs of rows whose vectors point nearly the same way, such as a run's features.

    vectors: float (N, D). nearest: at most so many of each row's neighbours count. least: the smallest cosine.
    Returns int64 (M, 2), lower row first, ascending, each pair once. Deterministic. About 10 microseconds a row.
    """
    if len(vectors) < 2:
        return np.zeros((0, 2), np.int64)
    unit = to_unit(vectors[:, : vectors.shape[1] // 2 * 2].astype(np.float32))
    index = build_index(unit, lookups=len(unit))
    if hasattr(index, "nprobe"):
        index.nprobe = 8
    found = []
    for start in range(0, len(unit), _CHUNK):
        labels = index.search(unit[start : start + _CHUNK], min(nearest + 1, len(unit)))[1]
        row, place = np.nonzero(labels >= 0)
        found.append(np.stack([row + start, labels[row, place]], axis=1))
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0).astype(np.int64)
    likeness = np.einsum("nd,nd->n", unit[pairs[:, 0]], unit[pairs[:, 1]])
    kept: NDArray[np.int64] = pairs[(pairs[:, 0] != pairs[:, 1]) & (likeness >= least)]
    return kept
