"""What every exporter is given: the rows of one version, what they amount to, and how to get at the bytes."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.errors import NotFound
from workbench.services.exporters.targets import Target
from workbench.services.versions import VersionRow

COLUMNS = ("path", "label", "split", "status", "source", "decisions")
LABELS = "labels.csv"
MANIFEST = "manifest.json"


@dataclass
class Contents:
    """One version, ready to be written. `missing` fills with the images whose bytes cannot be had."""

    dataset: str
    format: str
    tool_version: str
    version: int
    content_hash: str
    classes: Sequence[Mapping[str, Any]]  # name, colour, key, retired, in their order
    rows: Sequence[VersionRow]
    votes: Mapping[int, Mapping[str, int]]
    read: Callable[[VersionRow], bytes]  # raises NotFound
    advance: Callable[[], None]  # one more image is done
    missing: list[dict[str, str]] = field(default_factory=list)
    files: int = 0
    size_bytes: int = 0

    def pictures(self, rows: Sequence[VersionRow]) -> Iterator[tuple[VersionRow, bytes]]:
        """Each row with its bytes, one at a time; rows without bytes are noted and passed by."""
        for row in rows:
            try:
                data = self.read(row)
            except NotFound as error:
                self.note_missing(row, str(error))
            else:
                yield row, data
            self.advance()

    def put(self, target: Target, name: str, *, row: VersionRow, data: bytes) -> None:
        try:
            target.put(name, data)
        except ValueError as error:
            self.note_missing(row, f"it was left out: {error}")
        else:
            self.files += 1
            self.size_bytes += len(data)

    def note_missing(self, row: VersionRow, reason: str) -> None:
        self.missing.append({"path": row.path, "reason": reason})

    def finish(self, target: Target) -> None:
        """The table, and last the manifest, which says that the export is whole."""
        target.put(LABELS, self.labels_csv())
        target.put(MANIFEST, self.manifest_json().encode())

    def labels_csv(self) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            (row.path, row.label, row.split or "", row.status, row.source, row.decisions) for row in self.rows
        )
        return text.getvalue().encode()

    def counts(self) -> dict[str, Any]:
        """Images and splits without the excluded ones, classes of the active ones; `excluded` beside them."""
        statuses = Counter(row.status for row in self.rows)
        labels = Counter(row.label for row in self.rows if row.status == "active")
        splits = Counter(row.split or "none" for row in self.rows if row.status != "excluded")
        return {
            "images": len(self.rows) - statuses["excluded"],
            "excluded": statuses["excluded"],
            "ambiguous": statuses["ambiguous"],
            "unlabelled": labels[""],
            "classes": {cls["name"]: labels[cls["name"]] for cls in self.classes},
            "splits": dict(sorted(splits.items())),
        }

    def manifest_json(self) -> str:
        return json.dumps(self.manifest(), indent=2, ensure_ascii=False) + "\n"

    def manifest(self) -> dict[str, Any]:
        counts = self.counts()
        return {
            "tool": "curation-workbench",
            "tool_version": self.tool_version,
            "dataset": self.dataset,
            "format": self.format,
            "version": self.version,
            "content_hash": self.content_hash,
            **counts,
            "classes": [{**cls, "images": counts["classes"][cls["name"]]} for cls in self.classes],
            "files": self.files,
            "bytes": self.size_bytes,
            "distinct_files": len({row.file_sha256 for row in self.rows}),
            "missing": self.missing,
        }
