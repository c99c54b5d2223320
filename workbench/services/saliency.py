"""Where a run looks: its maps, one small grid for each image, and the test whether they are true. No torch.

The job that makes them is workbench/worker/explaining.py. A map is shown with its test beside it, never alone.
"""

import functools
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from workbench.config import Home
from workbench.files import read_json, write_arrays, write_json
from workbench.services.measures import mean_interval

MAPS, TEST = "saliency.npz", "faithfulness.json"
PAINTED_PX = 96
_CLEAR, _STRONG = np.array([255, 205, 60]), np.array([214, 24, 24])  # amber where it looks a little, red where it does
_MOST_OPAQUE = 0.68


@dataclass(frozen=True, eq=False)
class Saliency:
    """Maps of N images for the class that the run gives each. Rows are in the order of `image_ids`, ascending."""

    image_ids: NDArray[np.int64]  # (N,)
    maps: NDArray[np.uint8]  # (N, G, G), 255 at the strongest place of each; all 0 where nothing speaks for the class
    class_ids: NDArray[np.int64]  # (N,)

    def find(self, image_id: int) -> int | None:
        """The image's row, none if it has no map yet."""
        row = int(np.searchsorted(self.image_ids, image_id))
        return row if row < len(self.image_ids) and self.image_ids[row] == image_id else None

    def add(self, other: "Saliency") -> "Saliency":
        """With the maps of other images; where both have one, the other's."""
        if not len(self.image_ids) or not len(other.image_ids):
            return other if len(other.image_ids) else self
        kept = ~np.isin(self.image_ids, other.image_ids)
        ids = np.concatenate([self.image_ids[kept], other.image_ids])
        order = np.argsort(ids, kind="stable")
        return Saliency(
            ids[order],
            np.concatenate([self.maps[kept], other.maps])[order],
            np.concatenate([self.class_ids[kept], other.class_ids])[order],
        )


def save_maps(home: Home, run_id: int, saliency: Saliency) -> None:
    path = home.run_folder(run_id) / MAPS
    write_arrays(path, image_ids=saliency.image_ids, maps=saliency.maps, class_ids=saliency.class_ids)


def load_maps(home: Home, run_id: int) -> Saliency | None:
    """None before the first are made. The last few runs asked for stay in memory until their file changes."""
    path = home.run_folder(run_id) / MAPS
    try:
        stamp = path.stat()
        return _read(path, stamp.st_mtime_ns, stamp.st_size)
    except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


@functools.lru_cache(maxsize=4)
def _read(path: Path, _mtime_ns: int, _size: int) -> Saliency:
    with np.load(path, allow_pickle=False) as stored:
        return Saliency(stored["image_ids"], stored["maps"], stored["class_ids"])


def paint(values: NDArray[np.uint8]) -> bytes:
    """A map (G, G) as a PNG to be laid over its picture: clear where the run does not look, red where it looks most."""
    grid = Picture.fromarray(values.astype(np.float32) / 255)
    wide = np.asarray(grid.resize((PAINTED_PX, PAINTED_PX), Picture.Resampling.BICUBIC)).clip(0, 1)
    pixels = np.empty((PAINTED_PX, PAINTED_PX, 4), np.uint8)
    pixels[..., :3] = _CLEAR + wide[..., None] * (_STRONG - _CLEAR)
    pixels[..., 3] = 255 * _MOST_OPAQUE * wide**1.5  # so that the picture stays clear where little speaks
    target = io.BytesIO()
    Picture.fromarray(pixels).save(target, "PNG", compress_level=1)
    return target.getvalue()


# --- the test ---------------------------------------------------------------------------------------------------


def describe_test(
    own: NDArray[np.float64], random: NDArray[np.float64], other: NDArray[np.float64], **facts: Any
) -> dict[str, Any]:
    """What `save_test` keeps. own, random, other: (N,) scores of the same images, as ml.explain measures them."""
    return {
        "n": len(own),
        "own": float(own.mean()),
        "random": float(random.mean()),
        "other": float(other.mean()),
        "over_random": _compare(own - random),
        "over_other": _compare(own - other),
        **facts,
    }


def _compare(differences: NDArray[np.float64]) -> dict[str, float | None]:
    low, high = mean_interval(differences)
    return {"difference": float(differences.mean()), "low": low, "high": high}


def save_test(home: Home, run_id: int, test: dict[str, Any]) -> None:
    write_json(home.run_folder(run_id) / TEST, test)


def read_test(home: Home, run_id: int) -> dict[str, Any] | None:
    found: dict[str, Any] | None = read_json(home.run_folder(run_id) / TEST)
    return found


@dataclass(frozen=True)
class Verdict:
    """Whether maps can be believed: "faithful", "general" (they say where the run looks, not why here), or "failed"."""

    kind: str
    short: str  # beside a map
    sentence: str  # with its numbers

    @property
    def passed(self) -> bool:
        return self.kind == "faithful"


def judge_test(test: dict[str, Any]) -> Verdict:
    """Better than random maps, and better than another image's map: each by its 95 % interval."""
    numbers = f"{_words(test['over_random'])} over random maps, {_words(test['over_other'])} over those of other images"
    numbers = f"insertion less deletion {_signed(test['own'])}: {numbers}; n {test['n']:,}"
    if not _leads(test["over_random"]):
        return Verdict(
            "failed",
            "Fails its test: what it marks matters no more than random places do. Do not go by it.",
            f"These maps fail their test: blurring what they mark changes the prediction no more than blurring random "
            f"places ({numbers}).",
        )
    if not _leads(test["over_other"]):
        return Verdict(
            "general",
            "Passes against random places, but another image's map does as well: it shows where the run looks in "
            "general, not what decided here.",
            f"These maps show where the run looks in general: they beat random places, but another image's map does as "
            f"well ({numbers}).",
        )
    return Verdict(
        "faithful",
        "Passes its test: what such maps mark carries more of the prediction than random places do.",
        f"These maps pass their test: what they mark carries more of the prediction than random places and than what "
        f"another image's map marks ({numbers}).",
    )


def _leads(lead: dict[str, float | None]) -> bool:
    return lead["low"] is not None and lead["low"] > 0


def _words(lead: dict[str, Any]) -> str:
    bounds = "" if lead["low"] is None else f" [{_signed(lead['low'])}, {_signed(lead['high'])}]"
    return _signed(lead["difference"]) + bounds


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
