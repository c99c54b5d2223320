"""The log as a file: one line of text for each line that fits, made a few thousand at a time."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from workbench.db import Database
from workbench.queries import datasets, log_lines
from workbench.queries.log_lines import LogFilter

COLUMNS = (
    "line", "time", "user", "role", "kind", "verdict", "path", "class", "classes", "text", "queue", "counts", "action",
    "undoes", "seconds", "detail",
)  # fmt: skip
_TEXTS = ("text", "reason")  # where people write freely
_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n")


def read_log(database: Database, wanted: LogFilter) -> Iterator[dict[str, Any]]:
    """Every line that fits, oldest first. Each few thousand are a short read, so that no transaction stays open."""
    with database.read() as session:
        cursor = log_lines.open_cursor(session, wanted)
        undone = log_lines.list_undone(session, dataset_id=wanted.dataset_id)
        names = {cls.id: cls.name for cls in datasets.list_classes(session, wanted.dataset_id)}
    after = 0
    while True:
        with database.read() as session:
            rows = log_lines.read_lines(session, cursor, after=after)
        for row in rows:
            yield _tell(row, names=names, undone=undone, sees_all=wanted.sight.all)
        if not rows:
            return
        after = rows[-1].id


def _tell(row: Any, *, names: dict[int, str], undone: set[str], sees_all: bool) -> dict[str, Any]:
    detail = json.loads(row.detail) if row.detail else {}
    if not sees_all:
        detail.pop("gold", None)  # which images are gold is for leads to know
    return {
        "line": row.id,
        "time": _read_time(row.at),
        "user": row.user,
        "role": row.role or "",
        "kind": row.kind,
        "verdict": detail.get("verdict", ""),
        "path": row.path or "",
        "class": getattr(row, "class") or "",
        "classes": [names.get(found, str(found)) for found in detail.get("classes", ())],
        "text": next((str(detail[key]) for key in _TEXTS if detail.get(key)), ""),
        "queue": row.queue or "",
        "counts": row.action not in undone,
        "action": row.action,
        "undoes": row.undoes or "",
        "seconds": row.seconds,
        "detail": detail,
    }


def _read_time(stored: str) -> str:
    return datetime.strptime(stored, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).isoformat(timespec="milliseconds")


def write_jsonl(lines: Iterator[dict[str, Any]]) -> Iterator[str]:
    for line in lines:
        yield json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def write_csv(lines: Iterator[dict[str, Any]]) -> Iterator[str]:
    """With a head line. What people typed cannot become a formula of the spreadsheet that opens the file."""
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        writer.writerow([_write_cell(line[column]) for column in COLUMNS])
        if sheet.tell() > 2**16:
            yield _take(sheet)
    yield _take(sheet)


def _take(sheet: io.StringIO) -> str:
    written = sheet.getvalue()
    sheet.seek(0)
    sheet.truncate()
    return written


def _write_cell(value: Any) -> str:
    if value is None or value == {}:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    words = "|".join(value) if isinstance(value, list) else str(value)
    return f"'{words}" if words.startswith(_RISKY) else words


FORMATS: dict[str, Callable[[Iterator[dict[str, Any]]], Iterator[str]]] = {"csv": write_csv, "jsonl": write_jsonl}
