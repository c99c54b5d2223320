"""One Parquet file with the images in it, in the form that Hugging Face `datasets` reads as images."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from workbench.services.exporters.contents import MANIFEST, Contents
from workbench.services.exporters.targets import open_partial
from workbench.services.versions import VersionRow

FILE = "images.parquet"
_GROUP_BYTES = 32 * 2**20
_GROUP_ROWS = 1000
_FEATURES = {
    "image": {"_type": "Image"},
    **{name: {"dtype": "string", "_type": "Value"} for name in ("path", "label", "split", "status", "source")},
    "decisions": {"dtype": "int64", "_type": "Value"},
    "votes": [{"option": {"dtype": "string", "_type": "Value"}, "count": {"dtype": "int32", "_type": "Value"}}],
}


def write(contents: Contents, destination: Path) -> None:
    """A file if the name ends in .parquet, else a folder with `images.parquet` and the manifest beside it."""
    if destination.suffix == ".parquet":
        with open_partial(destination) as path:
            _write_file(contents, path)
    else:
        with open_partial(destination) as path:
            path.mkdir()
            _write_file(contents, path / FILE)
            (path / MANIFEST).write_text(contents.manifest_json(), "utf-8")


def _write_file(contents: Contents, path: Path) -> None:
    """Streams row groups; memory holds one of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = pq.ParquetWriter(path, _make_schema(), compression="zstd")
    try:
        pictures = contents.pictures(contents.rows)
        while rows := list(_take_group(pictures)):
            records = [_make_record(contents, row, data) for row, data in rows]
            writer.write_table(pa.Table.from_pylist(records, schema=writer.schema))
        writer.add_key_value_metadata({"workbench": json.dumps(contents.manifest(), ensure_ascii=False)})
    finally:
        writer.close()


def _make_schema() -> Any:
    import pyarrow as pa

    text = pa.string()
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", text)])),
            *((name, text) for name in ("path", "label", "split", "status", "source")),
            ("decisions", pa.int64()),
            ("votes", pa.list_(pa.struct([("option", text), ("count", pa.int32())]))),
        ]
    )
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": _FEATURES}})})


def _take_group(pictures: Iterator[tuple[VersionRow, bytes]]) -> Iterator[tuple[VersionRow, bytes]]:
    size = 0
    for row, data in islice(pictures, _GROUP_ROWS):
        yield row, data
        size += len(data)
        if size >= _GROUP_BYTES:
            return


def _make_record(contents: Contents, row: VersionRow, data: bytes) -> dict[str, Any]:
    contents.files += 1
    contents.size_bytes += len(data)
    votes: Sequence[tuple[str, int]] = sorted(contents.votes.get(row.image_id, {}).items())
    return {
        "image": {"bytes": data, "path": row.path.rpartition("/")[2]},
        "path": row.path,
        "label": row.label,
        "split": row.split,
        "status": row.status,
        "source": row.source,
        "decisions": row.decisions,
        "votes": [{"option": option, "count": count} for option, count in votes],
    }
