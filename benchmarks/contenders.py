"""One search for duplicates over one folder of pictures, in a process of its own so that its CPU time and memory count.

    python -m benchmarks.contenders NAME FOLDER OUT.npz

The folder holds 0000000.png, 0000001.png ...; the number is the row. Standard output is one JSON document with the CPU
seconds of each stage.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.scoring import Found

_IMAGEDEDUP_RADIUS = 10  # bits; its default

Contender = Callable[[list[Path], "Clock"], Found]


class Clock:
    """CPU seconds of this process and of those it started and awaited, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        self._last = sum(os.times()[:4])

    def note(self, stage: str, _done: int = 0, _total: int = 0) -> None:
        """All that was used since the last call, or the start, went into this stage."""
        before = self._last
        self.start()
        self.seconds[stage] = round(self.seconds.get(stage, 0) + self._last - before, 2)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.start()
        yield
        self.note(name)


def scan_workbench(files: list[Path], clock: Clock) -> Found:
    """This product's own search, as a scan runs it."""
    with clock.stage("start"):
        from benchmarks.engine import scan_fingerprints
        from ml.dedup.fingerprints import fingerprint
        from ml.images import decode
    with clock.stage("read, decode, fingerprint"):
        fingerprints = np.stack([fingerprint(decode(file.read_bytes())) for file in files])
    clock.start()
    found = scan_fingerprints(fingerprints, on_progress=clock.note)
    clock.note("Grouping", 1, 1)
    group = np.full(len(files), -1, np.int64)
    for number, one in enumerate(found.groups):
        group[list(one.rows)] = number
    return Found(found.a, found.b, found.score, found.p, group)


def scan_imagehash(files: list[Path], clock: Clock, *, side: int, radius: int) -> Found:
    """ImageHash's phash of side * side bits and faiss: what most people write themselves."""
    with clock.stage("start"):
        import faiss
        import imagehash
        from PIL import Image
    with clock.stage("read, decode, hash"):
        codes = np.zeros((len(files), side * side // 8), np.uint8)
        for row, file in enumerate(files):
            with Image.open(file) as picture:
                codes[row] = np.packbits(imagehash.phash(picture, hash_size=side).hash.ravel())
    with clock.stage("search"):
        index = faiss.IndexBinaryFlat(side * side)
        index.add(codes)
        limits, distances, others = index.range_search(codes, radius + 1)
    return _without_doubles(
        np.repeat(np.arange(len(files)), np.diff(limits).astype(np.int64)), others, distances, len(files)
    )


def scan_imagededup(files: list[Path], clock: Clock) -> Found:
    """imagededup's PHash with its defaults, on one core."""
    with clock.stage("start"):
        from ml.vision import load_torchvision

        load_torchvision()  # imagededup imports it, though PHash needs none
        from imagededup.methods import PHash  # type: ignore[import-not-found]
    with clock.stage("read, decode, hash"):
        method = PHash(verbose=False)
        codes = method.encode_images(str(files[0].parent), num_enc_workers=0)
    with clock.stage("search"):
        answer = method.find_duplicates(
            encoding_map=codes, max_distance_threshold=_IMAGEDEDUP_RADIUS, scores=True, num_dist_workers=0
        )
    found = [(int(Path(a).stem), int(Path(b).stem), bits) for a, others in answer.items() for b, bits in others]
    table = np.array(found, np.int64).reshape(-1, 3)
    return _without_doubles(table[:, 0], table[:, 1], table[:, 2], len(files))


def _without_doubles(a: NDArray[np.int64], b: NDArray[np.int64], distances: NDArray[np.integer], count: int) -> Found:
    """Each pair once, a < b; the score is the number of bits less than nothing."""
    table = np.column_stack([a, b, distances])[a < b]
    table = table[np.unique(table[:, 0] * count + table[:, 1], return_index=True)[1]]
    p = np.full(len(table), np.nan, np.float32)
    return Found(table[:, 0], table[:, 1], -table[:, 2].astype(np.float32), p, np.full(count, -1, np.int64))


CONTENDERS: Mapping[str, Contender] = {
    "workbench": scan_workbench,
    "ImageHash 64 bit + faiss": lambda files, clock: scan_imagehash(files, clock, side=8, radius=10),
    "ImageHash 256 bit + faiss": lambda files, clock: scan_imagehash(files, clock, side=16, radius=60),
    "imagededup PHash": scan_imagededup,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    clock = Clock()
    found = CONTENDERS[arguments.name](sorted(arguments.folder.glob("*.png")), clock)
    np.savez(arguments.out, **vars(found))
    print(json.dumps(clock.seconds))


if __name__ == "__main__":
    main()
