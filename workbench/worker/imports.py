"""Carrying out an import: read, hash and decode what a source names, in batches; then votes and attributes."""

import hashlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ml.images import Unreadable, inspect
from workbench import storage
from workbench.errors import Invalid
from workbench.models import Dataset, Import, User
from workbench.queries import images as image_queries
from workbench.queries import imports as queries
from workbench.services import imports, users
from workbench.services.importers import open_source
from workbench.services.importers.attributes import AttributeFile, AttributePattern, open_attributes
from workbench.services.importers.entries import ClassHint, Entry, Source
from workbench.services.importers.path_index import list_shared_names
from workbench.services.importers.trees import Refused
from workbench.services.importers.votes import VoteFile
from workbench.services.imports import Batch, Wishes
from workbench.worker.context import Context

_BATCH = 1000


def import_source(
    context: Context,
    *,
    source: str,
    dataset: str,
    format: str = "auto",  # noqa: A002 - the name of the option; a job's parameters are called like it
    split: str | None = None,
    copy: bool = False,
    maps: Mapping[str, str] | None = None,
    drops: Sequence[str] = (),
    votes: str | None = None,
    attributes: str | None = None,
) -> dict[str, Any]:
    """Read a source into a data set and return what `import --json` answers (docs/importing.md).

    May be killed at any moment and called again with the same arguments: it goes on, and ends with the same rows.
    """
    started = time.monotonic()
    wishes = Wishes(split=split, maps=dict(maps or {}), drops=list(drops))
    vote_file = VoteFile(Path(votes).expanduser()) if votes else None
    attribute_source = open_attributes(attributes) if attributes else None
    path = Path(source).expanduser().resolve()
    with open_source(path, format_=format) as opened:
        options = {"split": split, "copy": copy, "maps": wishes.maps, "drops": list(drops), "votes": votes,
                   "attributes": attributes}  # fmt: skip
        job = _Job.start(context, dataset, path, opened, wishes=wishes, options=options)
        try:
            _take_in(job, opened)
            extras = _join_extras(job, vote_file, attribute_source)
            return {**job.finish(), **extras, "seconds": round(time.monotonic() - started, 3)}
        except BaseException:
            job.mark_failed()
            raise


@dataclass
class _Job:
    """One import under way. Rows are fetched anew in each short transaction."""

    context: Context
    dataset_id: int
    import_id: int
    user_id: int
    wishes: Wishes
    copies: bool
    hints: list[ClassHint]
    stored: int = 0
    unused: set[str] = field(default_factory=set)  # maps and drops that met no image yet

    @classmethod
    def start(
        cls, context: Context, dataset: str, path: Path, source: Source, *, wishes: Wishes, options: dict[str, Any]
    ) -> "_Job":
        maps = dict(wishes.maps or {})
        with context.database.write() as session:
            user_id = context.user_id or users.ensure_admin(session).id
            target, row = imports.start_import(
                session, dataset=dataset, source=str(path), format_=source.format, options=options
            )
            return cls(
                context=context,
                dataset_id=target.id,
                import_id=row.id,
                user_id=user_id,
                wishes=wishes,
                copies=bool(options["copy"]),
                hints=[
                    replace(hint, name=maps.get(hint.name, hint.name))
                    for hint in source.classes
                    if hint.name not in wishes.drops
                ],
                unused={*maps, *wishes.drops},
            )

    def record(self, batch: Batch) -> None:
        with self.context.database.write() as session:
            dataset, row = session.get_one(Dataset, self.dataset_id), session.get_one(Import, self.import_id)
            user = session.get_one(User, self.user_id)
            imports.record_batch(session, dataset, row, batch, hints=self.hints, user=user)

    def finish(self) -> dict[str, Any]:
        """Write the line that makes it count; raises Invalid, and leaves no trace, if there was nothing to import."""
        if self.stored:
            storage.sync()
        with self.context.database.write() as session:
            dataset, row = session.get_one(Dataset, self.dataset_id), session.get_one(Import, self.import_id)
            nothing = imports.discard_empty(session, dataset, row) if not (row.imported or row.known) else ""
            if not nothing:
                imports.finish_import(session, dataset, row, user=session.get_one(User, self.user_id))
        if nothing:
            raise Invalid(nothing)
        with self.context.database.read() as session:
            dataset, row = session.get_one(Dataset, self.dataset_id), session.get_one(Import, self.import_id)
            return {**imports.summarize(session, dataset, row), "unused": sorted(self.unused)}

    def mark_failed(self) -> None:
        """It can still be taken up again; pages show that it is not running."""
        with self.context.database.write() as session:
            row = session.get(Import, self.import_id)
            if row is not None and row.status == "running":
                row.status = "failed"


def _take_in(job: _Job, source: Source) -> None:
    total = source.count()
    done = 0
    entries = source.entries()
    job.context.progress(0, total, "Importing")
    while chunk := list(itertools.islice(entries, _BATCH)):
        batch = _read_batch(job, source, chunk)
        job.record(batch)
        done += len(chunk)
        job.context.progress(done, max(done, total), "Importing")


def _read_batch(job: _Job, source: Source, entries: list[Entry]) -> Batch:
    """Read and decode what is new; no transaction is open meanwhile."""
    batch = Batch(taken=[], refused=[])
    with job.context.database.read() as session:
        paths = [entry.path for entry in entries]
        known = queries.list_known(session, dataset_id=job.dataset_id, paths=paths)
        frozen = session.get_one(Dataset, job.dataset_id).frozen_split
    for entry in entries:
        job.unused.difference_update(entry.labels)
        if not job.wishes.apply(entry):
            batch.dropped += 1
            continue
        if frozen is not None and entry.split == frozen and entry.path not in known:
            entry.problem = entry.problem or f"{frozen} is frozen: unfreeze it first, or import into another split"
        try:
            _read_entry(job, source, entry, batch=batch, known=known)
        except (Refused, Unreadable) as error:
            batch.refused.append((entry.path, str(error)))
    return batch


def _read_entry(job: _Job, source: Source, entry: Entry, *, batch: Batch, known: dict[str, queries.KnownImage]) -> None:
    if entry.problem:
        raise Refused(entry.problem)
    data = source.read(entry)
    found = known.get(entry.path)
    if found is not None:
        _compare(job, entry, data, found)
        batch.known += found.import_id != job.import_id
        return
    facts = inspect(data, name=entry.path)
    location = None if job.copies else source.location(entry)
    if location is None:
        storage.put_object(job.context.home, data, sha256=facts.file_sha256)
        job.stored += 1
    batch.taken.append((entry, facts, location or storage.STORED))
    known[entry.path] = queries.KnownImage(
        job.import_id, location or storage.STORED, facts.file_sha256, frozenset(entry.labels)
    )


def _compare(job: _Job, entry: Entry, data: bytes, found: queries.KnownImage) -> None:
    """A path that the data set has already: the same image, or refused with what differs."""
    if hashlib.sha256(data).hexdigest() != found.file_sha256:
        raise Refused("the data set has another file under this path; the image it has stays")
    if entry.labels and entry.status != "ambiguous" and entry.labels[0] not in found.names:
        has = "no label" if not found.names else "the label " + " or ".join(sorted(found.names))
        raise Refused(f"the data set has this image with {has}; change labels with `workbench decide`")
    if found.location == storage.STORED:  # mends what a power cut may have lost
        storage.put_object(job.context.home, data)


def _join_extras(
    job: _Job, votes: VoteFile | None, attributes: AttributeFile | AttributePattern | None
) -> dict[str, Any]:
    """Votes and attributes from their own files, for every image of the data set that they name."""
    if votes is None and attributes is None:
        return {}
    with job.context.database.read() as session:
        shared = list_shared_names(image_queries.iterate_paths(session, job.dataset_id))
    counts = {"votes_matched": 0, "attributes_matched": 0}
    for page in _pages(job):
        named = [(image_id, path, path.rpartition("/")[2] not in shared) for image_id, path in page]
        found_votes = _find(votes.rows if votes else None, named)
        found_attributes = _find(attributes, named)
        counts["votes_matched"] += len(found_votes)
        counts["attributes_matched"] += len(found_attributes)
        with job.context.database.write() as session:
            dataset = session.get_one(Dataset, job.dataset_id)
            imports.write_votes(session, dataset, found_votes, maps=job.wishes.maps or {})
            imports.write_attributes(session, found_attributes)
    wanted = {"votes_matched": votes, "attributes_matched": attributes}
    return {name: count for name, count in counts.items() if wanted[name] is not None}


def _find(index: Any, named: Sequence[tuple[int, str, bool]]) -> dict[int, Any]:
    if index is None:
        return {}
    found = {image_id: index.find(path, has_unique_name=is_unique) for image_id, path, is_unique in named}
    return {image_id: row for image_id, row in found.items() if row}


def _pages(job: _Job) -> Iterator[list[tuple[int, str]]]:
    after = 0
    while True:
        with job.context.database.read() as session:
            rows = image_queries.list_path_page(session, dataset_id=job.dataset_id, after=after, limit=_BATCH)
        if not rows:
            return
        yield [(row.id, row.path) for row in rows]
        after = rows[-1].id
