"""Importing against its floor: read, hash and decode, and nothing else.

    python benchmarks/imports.py SOURCE.zip SOURCE_FOLDER ...

For each source: images per CPU second and peak memory of the whole `workbench import` process, Python's start
included, beside a process that only reads the files, hashes them and decodes them with Pillow.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks.processes import measure

_FLOOR = """
import hashlib, io, os, sys, zipfile
from PIL import Image
def files(source):
    if os.path.isdir(source):
        for folder, _, names in os.walk(source):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    yield file.read()
    else:
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                if not name.endswith("/"):
                    yield archive.read(name)
for data in files(sys.argv[1]):
    hashlib.sha256(data).digest()
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        hashlib.sha256(picture.tobytes()).digest()
"""
_IMPORT = "from workbench.cli import main; main()"


def count_images(source: Path) -> int:
    if source.is_dir():
        return sum(path.is_file() for path in source.rglob("*"))
    with zipfile.ZipFile(source) as archive:
        return sum(not info.is_dir() for info in archive.infolist())


def main() -> None:
    print(f"{'source':<24}{'images':>8}{'floor/CPU-s':>13}{'import/CPU-s':>14}{'ratio':>7}{'CPU s':>8}{'peak MiB':>10}")
    for source in map(Path, sys.argv[1:]):
        images = count_images(source)
        floor, _, _ = measure([sys.executable, "-c", _FLOOR, str(source)])
        with tempfile.TemporaryDirectory() as home:
            arguments = ["import", str(source), "--dataset", "bench", "--json", "--home", home]
            seconds, peak, output = measure([sys.executable, "-c", _IMPORT, *arguments])
        imported = json.loads(output)["imported"]
        print(
            f"{source.name:<24}{imported:>8,}{images / floor:>13,.0f}{imported / seconds:>14,.0f}"
            f"{floor / seconds:>7.2f}{seconds:>8.2f}{peak:>10,.0f}"
        )


if __name__ == "__main__":
    main()
