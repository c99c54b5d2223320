"""Exporters: one file a format, registered here."""

from collections.abc import Callable
from pathlib import Path

from workbench.services.exporters import folder, labels_csv, parquet
from workbench.services.exporters.contents import Contents

EXPORTERS: dict[str, Callable[[Contents, Path], None]] = {
    "folder": folder.write,
    "csv": labels_csv.write,
    "parquet": parquet.write,
}
