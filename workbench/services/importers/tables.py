"""Reading CSV files as people have them: byte-order marks, Windows line ends, blanks in headers, any column order."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import IO

from workbench.errors import Invalid

_MAX_FIELD = 64 * 2**20  # one field: the pixels of a picture of some thousand by some thousand
_MAX_LINE = 66 * 2**20  # one line; a file without line ends must not fill the memory


class Table:
    """A CSV file that is read row by row. Columns are looked up by name, whatever their case and order."""

    def __init__(self, stream: IO[bytes], *, name: str) -> None:
        self._name = name
        self._text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        csv.field_size_limit(_MAX_FIELD)
        self._reader = csv.reader(self._text_lines())
        try:
            self.header = [column.strip() for column in next(self._lines(), [])]
        except Invalid:
            self.close()
            raise
        self.keys = [column.casefold() for column in self.header]

    def find(self, *names: str) -> int | None:
        """The index of the first of these columns that is there."""
        return next((self.keys.index(name) for name in names if name in self.keys), None)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line number, cells) of each row, cells as many as columns; empty lines are passed by."""
        width = len(self.header)
        for cells in self._lines():
            if any(cell.strip() for cell in cells):
                yield self._reader.line_num, (cells + [""] * (width - len(cells)))[: max(width, len(cells))]

    def _lines(self) -> Iterator[list[str]]:
        try:
            yield from self._reader
        except (csv.Error, UnicodeDecodeError) as error:
            raise Invalid(
                f"“{self._name}” is no readable CSV file after line {self._reader.line_num} ({error})."
            ) from error

    def _text_lines(self) -> Iterator[str]:
        while line := self._text.readline(_MAX_LINE):
            if len(line) == _MAX_LINE:
                raise csv.Error(f"a line of more than {_MAX_LINE // 2**20} million characters")
            yield line

    def close(self) -> None:
        self._text.close()


def has_columns(keys: Sequence[str], *names: str) -> bool:
    return all(name in keys for name in names)


def count_lines(stream: IO[bytes]) -> int:
    """Lines of a file, about: how many rows a progress bar should expect."""
    with stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
