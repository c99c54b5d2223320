"""The FER2013 CSV: `emotion,pixels,Usage`, one row a face; columns in any order, Usage may be missing.

A row becomes the stored PNG `SPLIT/rowNNNNN.png`, or `rowNNNNN.png` without Usage; NNNNN is the number of its row
from 0, which is also how the rows of FER+ are matched.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from math import isqrt

from workbench.errors import Invalid
from workbench.services.importers.entries import ClassHint, Entry, parse_split
from workbench.services.importers.tables import Table, count_lines, has_columns
from workbench.services.importers.trees import Refused, Tree

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def has_header(keys: Sequence[str]) -> bool:
    return has_columns(keys, "emotion", "pixels")


class Fer2013Source:
    """The pixels travel in the entry, as the text of the row, and become a PNG when they are read."""

    format = "fer2013"
    classes: Sequence[ClassHint] = tuple(ClassHint(name) for name in EMOTIONS)

    def __init__(self, tree: Tree, table: str) -> None:
        self._tree = tree
        self._table = table

    def count(self) -> int:
        return max(0, count_lines(self._tree.open(self._table)) - 1)

    def entries(self) -> Iterator[Entry]:
        table = Table(self._tree.open(self._table), name=self._table)
        try:
            emotion, pixels, usage = table.find("emotion"), table.find("pixels"), table.find("usage")
            if emotion is None or pixels is None:
                raise Invalid(f"“{self._table}” has no columns emotion and pixels.")
            for number, (_, cells) in enumerate(table.rows()):
                yield _parse_row(number, cells[emotion], cells[pixels], cells[usage] if usage is not None else "")
        finally:
            table.close()

    def read(self, entry: Entry) -> bytes:
        return write_png(entry.file)

    def location(self, entry: Entry) -> str | None:  # noqa: ARG002 - the signature is Source's
        return None


def make_path(number: int, split: str | None) -> str:
    return f"{split}/row{number:05d}.png" if split else f"row{number:05d}.png"


def _parse_row(number: int, emotion: str, pixels: str, usage: str) -> Entry:
    split = parse_split(usage)
    entry = Entry(path=make_path(number, split), file=pixels, split=split)
    emotion = emotion.strip()
    if emotion.isdecimal() and int(emotion) < len(EMOTIONS):
        entry.labels = (EMOTIONS[int(emotion)],)
    elif emotion:
        entry.problem = f"emotion “{emotion[:20]}” is not a number from 0 to 6"
    if usage.strip() and split is None:
        entry.problem = f"Usage “{usage.strip()[:20]}” is not Training, PublicTest or PrivateTest"
    return entry


def write_png(pixels: str) -> bytes:
    """A square grey PNG of the values in a row. Not compressed, so that the bytes are the same with every zlib."""
    try:
        values = bytes(map(int, pixels.split()))
    except ValueError:
        raise Refused("the pixels are not numbers from 0 to 255") from None
    side = isqrt(len(values))
    if not values or side * side != len(values):
        raise Refused(f"{len(values):,} pixels are not a square picture")
    rows = b"".join(b"\0" + values[start : start + side] for start in range(0, len(values), side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
