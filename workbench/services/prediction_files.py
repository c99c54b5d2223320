"""Predictions that were made elsewhere, as files have them: a path and one probability for each class in a row."""

import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import Invalid
from workbench.services.importers.labels_csv import PATH_NAMES
from workbench.services.importers.tables import Table

NAMES = (*PATH_NAMES, "filename", "image name", "name")
LABELS = ("label", "true", "y_true", "target", "class")  # what the file holds for the truth, if it says so
PREDICTED = ("predicted", "prediction", "pred", "y_pred")
_PREFIX = re.compile(r"^(?:p|prob|probability)[_ (]+(.+?)\)?$", re.IGNORECASE)


@dataclass(frozen=True)
class PredictionFile:
    """N rows. values: float64 (N, K) as they stand in the file, columns as `names`. labels, predicted: N words each,
    empty where the file has no such column."""

    paths: list[str]
    names: list[str]
    values: NDArray[np.float64]
    labels: list[str] = field(default_factory=list)
    predicted: list[str] = field(default_factory=list)

    def normalise(self, columns: Sequence[int]) -> NDArray[np.float64]:
        """Rows of these columns that sum to 1: by a softmax where they are scores, else divided by their sum."""
        values = self.values[:, columns]
        if len(values) and (values.min() < 0 or values.max() > 1.02):
            values = np.exp(values - values.max(1, keepdims=True))
        totals = values.sum(1, keepdims=True)
        uniform = np.full_like(values, 1 / max(1, values.shape[1]))
        shares: NDArray[np.float64] = np.divide(values, totals, out=uniform, where=totals > 0)
        return shares


def read_predictions(path: Path) -> PredictionFile:
    """A CSV file with a header, or an .npz archive of `paths`, `probs` and `classes`. Raises Invalid, one sentence."""
    if not path.exists():
        raise Invalid(f"There is no file “{path}”.")
    found = _read_archive(path) if path.suffix.lower() == ".npz" else _read_table(path)
    if not found.paths:
        raise Invalid(f"“{path.name}” holds no predictions.")
    if len(set(found.paths)) < len(found.paths):
        twice = next(each for number, each in enumerate(found.paths) if each in found.paths[:number])
        raise Invalid(f"“{path.name}” predicts {twice} twice; leave one of its rows.")
    if not np.isfinite(found.values).all():
        row = int(np.flatnonzero(~np.isfinite(found.values).all(1))[0])
        raise Invalid(f"“{path.name}” has a probability for {found.paths[row]} that is no finite number.")
    return found


def _read_archive(path: Path) -> PredictionFile:
    try:
        with np.load(path, allow_pickle=False) as stored:
            paths, probs, classes = (stored[name] for name in ("paths", "probs", "classes"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise Invalid(f"“{path.name}” is no archive with the arrays paths, probs and classes.") from None
    if probs.ndim != 2 or probs.shape != (len(paths), len(classes)):
        raise Invalid(f"“{path.name}” needs probs of the shape (paths, classes), not {probs.shape}.")
    return PredictionFile([str(each) for each in paths], [str(each) for each in classes], probs.astype(np.float64))


def _read_table(path: Path) -> PredictionFile:
    try:
        table = Table(path.open("rb"), name=path.name)
    except OSError as error:
        raise Invalid(f"“{path}” cannot be read ({error.strerror}).") from error
    try:
        return _read_rows(table, path.name)
    finally:
        table.close()


def _read_rows(table: Table, name: str) -> PredictionFile:
    key, label, said = table.find(*NAMES), table.find(*LABELS), table.find(*PREDICTED)
    if key is None:
        raise Invalid(f"“{name}” has no column path or file, so its predictions belong to no image.")
    columns = [index for index, title in enumerate(table.header) if title and index not in (key, label, said)]
    rows = list(table.rows())
    values = [_parse_row(cells, columns, table.header, name, line) for line, cells in rows]
    return PredictionFile(
        paths=[cells[key].strip() for _, cells in rows],
        names=[_strip(table.header[index]) for index in columns],
        values=np.array(values, np.float64).reshape(len(rows), len(columns)),
        labels=[cells[label].strip() for _, cells in rows] if label is not None else [],
        predicted=[cells[said].strip() for _, cells in rows] if said is not None else [],
    )


def _parse_row(
    cells: Sequence[str], columns: Iterable[int], header: Sequence[str], name: str, line: int
) -> list[float]:
    try:
        return [float(cells[index]) for index in columns]
    except ValueError as error:
        wrong = next(header[index] for index in columns if not _is_number(cells[index]))
        raise Invalid(
            f"“{name}” line {line}: {wrong} is no number; leave only probabilities beside the path."
        ) from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _strip(title: str) -> str:
    """p_happy and prob(happy) are happy."""
    found = _PREFIX.match(title)
    return found[1] if found else title


# --- what is claimed ----------------------------------------------------------------------------------------------


def read_claims(path: Path | None, pairs: Mapping[str, str], *, beside: Path) -> dict[str, Any]:
    """Claimed figures by dotted name, from a JSON file and KEY=VALUE pairs. "files" are looked for beside the file."""
    given: dict[str, Any] = {}
    if path is not None:
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Invalid(f"“{path}” is no readable JSON file of claims ({error}).") from error
        if not isinstance(given, dict):
            raise Invalid(f"“{path.name}” must hold a JSON object of figures.")
    found = _flatten(given) | {key: _parse_figure(value) for key, value in pairs.items()}
    files = found.pop("files", [])
    folder = (path or beside).parent
    missing = [str(name) for name in ([files] if isinstance(files, str) else files) if not (folder / name).exists()]
    return found | ({"missing_files": missing} if missing else {})


def _flatten(given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, dict):
            found |= _flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = _parse_figure(value) if isinstance(value, str) else value
    return found


def _parse_figure(text: str) -> Any:
    """A number, a share in percent, or the words as they are."""
    words = text.strip()
    if words.endswith("%") and _is_number(words[:-1]):
        number = words[:-1].strip()
        return round(float(number) / 100, len(number.partition(".")[2]) + 2)
    try:
        return json.loads(words)
    except ValueError:
        return words
