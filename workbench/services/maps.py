"""Maps: where each image of a run lies in the plane, in an order in which a browser can draw any part of it.

Points are stored cell by cell along a Z-shaped curve: what a view shows is a few stretches of the file, and every k-th
point of a stretch is spread over it evenly, so that a slow machine draws fewer and still draws the same picture.
"""

import functools
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from workbench.config import Home
from workbench.errors import NotFound
from workbench.files import write_arrays
from workbench.models import Dataset, Run
from workbench.queries import runs as queries

FILE = "map.npz"
METHODS = {"neighbours": "Alike ones near each other", "pca": "Two main directions"}
SIDE = 32  # cells along each side
_HIGHEST = 65_535


@dataclass(frozen=True, eq=False)
class Map:
    """Places of N images, in the order in which they are drawn."""

    image_ids: NDArray[np.int64]  # (N,)
    points: NDArray[np.uint16]  # (N, 2) x to the right, y up
    regions: NDArray[np.int16]  # (N,) the fullest is 0
    cells: NDArray[np.uint32]  # (SIDE * SIDE + 1,) where each cell begins, along the curve
    method: str
    seed: int

    @property
    def region_count(self) -> int:
        return int(self.regions.max()) + 1 if len(self.regions) else 0


@dataclass(frozen=True)
class ShownMap:
    """The map that a page shows. is_stale: another run is promoted by now, and has no map."""

    run: Run
    map: Map
    stamp: str  # changes with the file
    is_stale: bool


def arrange(
    *,
    image_ids: NDArray[np.int64],
    points: NDArray[np.float32],
    regions: NDArray[np.int16],
    method: str,
    seed: int,
) -> Map:
    """Bring places into the order of drawing. points: (N, 2) in [0, 1]."""
    places = np.rint(points.astype(np.float64) * _HIGHEST).astype(np.uint16)
    order = np.lexsort((image_ids, curve(places)))
    columns, rows = (places[order].astype(np.uint32) * SIDE >> 16).T
    cell = _interleave(columns) | _interleave(rows) << np.uint32(1)
    return Map(
        image_ids=image_ids[order],
        points=places[order],
        regions=regions[order],
        cells=np.searchsorted(cell, np.arange(SIDE * SIDE + 1)).astype(np.uint32),
        method=method,
        seed=seed,
    )


def curve(points: NDArray[np.uint16]) -> NDArray[np.uint32]:
    """How far along the Z-shaped curve points (N, 2) lie: the bits of both coordinates in turns."""
    x, y = points.astype(np.uint32).T
    return _interleave(x) | _interleave(y) << np.uint32(1)


def _interleave(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A zero before each of 16 bits."""
    spread = values
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        spread = (spread | spread << np.uint32(shift)) & np.uint32(mask)
    return spread


def save_map(home: Home, run_id: int, made: Map) -> Path:
    """Returns where it is."""
    path = home.run_folder(run_id) / FILE
    write_arrays(path, **{each.name: getattr(made, each.name) for each in fields(Map)})
    return path


def find_map(home: Home, run_id: int) -> tuple[Map, str] | None:
    """The run's map and its stamp, none if there is none; the last few stay in memory."""
    path = home.run_folder(run_id) / FILE
    try:
        stamp = path.stat()
        return _read(path, stamp.st_mtime_ns, stamp.st_size), f"{run_id}-{stamp.st_mtime_ns:x}"
    except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # damaged or not there: made again


@functools.lru_cache(maxsize=2)
def _read(path: Path, _mtime_ns: int, _size: int) -> Map:
    with np.load(path, allow_pickle=False) as stored:
        arrays: dict[str, Any] = {each.name: stored[each.name] for each in fields(Map)}
    for array in arrays.values():
        array.flags.writeable = False  # shared by every request
    return Map(**{**arrays, "method": str(arrays["method"]), "seed": int(arrays["seed"])})


def find_shown(session: Session, home: Home, dataset: Dataset) -> ShownMap | None:
    """The map of the promoted run, or else the newest that there is."""
    promoted = session.get(Run, dataset.promoted_run_id) if dataset.promoted_run_id else None
    newest = queries.list_done_runs(session, dataset_id=dataset.id, limit=20)
    for run in [promoted, *newest] if promoted else newest:
        if found := find_map(home, run.id):
            return ShownMap(run, *found, is_stale=promoted is not None and run.id != promoted.id)
    return None


def get_shown(session: Session, home: Home, dataset: Dataset) -> ShownMap:
    found = find_shown(session, home, dataset)
    if found is None:
        raise NotFound(f"{dataset.name} has no map yet: make it on its map page, or with workbench map.")
    return found
