"""An export as a job."""

from pathlib import Path
from typing import Any

from workbench.services import exports
from workbench.worker.context import Context


def export_dataset(
    context: Context,
    *,
    dataset: str,
    destination: str,
    format: str = "folder",  # noqa: A002 - a job's parameters are called like the options
    version: int | None = None,
) -> dict[str, Any]:
    """Write a version to `destination` and return what `export --json` answers. Run again, it begins anew."""
    return exports.export(
        context.database,
        context.home,
        dataset=dataset,
        destination=Path(destination),
        format_=format,
        version=version,
        progress=context.progress,
    )
