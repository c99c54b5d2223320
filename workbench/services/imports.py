"""Imports: begun or taken up again, recorded in batches, finished with one line in the log.

Until that line is written the images are in the data set but in none of its versions; an import that is killed and
run again meets its own images as known, records what is missing and ends with the same rows.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import insert
from sqlalchemy.orm import Session

from workbench.errors import Invalid
from workbench.models import Attribute, Class, Dataset, Image, Import, Refusal, User, Vote, utc_now
from workbench.models.states import merge_roots
from workbench.queries import datasets as dataset_queries
from workbench.queries import images as image_queries
from workbench.queries import imports as queries
from workbench.services import datasets, decisions, duplicates
from workbench.services.decisions import Line
from workbench.services.importers import open_source
from workbench.services.importers.entries import ClassHint, Entry, class_problem
from workbench.services.importers.votes import match_options
from workbench.services.votes import refresh_votes

_PREVIEW_PATHS = 12


class Facts(Protocol):
    """What decoding found out about a picture; see ml.images.ImageFacts."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def mode(self) -> str: ...
    @property
    def media_type(self) -> str: ...
    @property
    def file_sha256(self) -> str: ...
    @property
    def pixel_sha256(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


@dataclass(slots=True)
class Batch:
    """What became of the next entries of a source."""

    taken: list[tuple[Entry, Facts, str]]  # with the location of the bytes
    refused: list[tuple[str, str]]  # (path, reason)
    known: int = 0  # from earlier imports
    dropped: int = 0

    @property
    def size(self) -> int:
        return len(self.taken) + len(self.refused) + self.known + self.dropped


@dataclass(frozen=True)
class Wishes:
    """What the user wants done to the labels on their way in."""

    split: str | None = None
    maps: Mapping[str, str] | None = None
    drops: Sequence[str] = ()

    def apply(self, entry: Entry) -> bool:
        """Change the entry accordingly; False if it is of a class that was dropped."""
        maps = self.maps or {}
        if self.split:
            entry.split = self.split
        if entry.labels and (maps or self.drops):
            kept = [name for name in entry.labels if name not in self.drops]
            mapped = dict.fromkeys(maps.get(name, name) for name in kept)
            entry.labels = tuple(name for name in mapped if name not in self.drops)
            if not entry.labels:
                return False
        for name in entry.labels:
            entry.problem = entry.problem or class_problem(name)
        return True


def parse_maps(texts: Sequence[str]) -> dict[str, str]:
    """OLD=NEW, each; raises Invalid."""
    maps = {}
    for text in texts:
        old, equals, new = text.partition("=")
        if not (equals and old.strip() and new.strip()):
            raise Invalid(f"“{text}” is not of the form OLD=NEW.", maps="One OLD=NEW on each line.")
        maps[old.strip()] = new.strip()
    return maps


def preview(
    source: str,
    *,
    format_: str = "auto",
    split: str | None = None,
    maps: Mapping[str, str] | None = None,
    drops: Sequence[str] = (),
    limit: int = 200_000,
) -> dict[str, Any]:
    """What an import would find, from names and columns alone: no picture is opened, at most `limit` are counted."""
    wishes = Wishes(split=split, maps=dict(maps or {}), drops=drops)
    classes: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    paths: list[str] = []
    found = dropped = 0
    with open_source(Path(source).expanduser().resolve(), format_=format_) as opened:
        entries = opened.entries()
        for entry in islice(entries, limit):
            found += 1
            if not wishes.apply(entry):
                dropped += 1
                continue
            classes.update(entry.labels or [""])
            splits[entry.split or "none"] += 1
            if len(paths) < _PREVIEW_PATHS:
                paths.append(entry.path)
        complete = next(entries, None) is None
    return {
        "format": opened.format,
        "found": found,
        "complete": complete,
        "dropped": dropped,
        "unlabelled": classes.pop("", 0),
        "classes": dict(sorted(classes.items(), key=lambda item: _natural(item[0]))),
        "splits": dict(sorted(splits.items())),
        "paths": paths,
    }


def start_import(
    session: Session, *, dataset: str, source: str, format_: str, options: dict[str, Any]
) -> tuple[Dataset, Import]:
    """The data set, made if absent, and the import: a new one, or the unfinished one of the same source."""
    target = datasets.ensure_dataset(session, dataset)
    found = queries.find_unfinished(session, dataset_id=target.id, source=source)
    if found is None:
        found = Import(dataset_id=target.id, source=source, format=format_, options=options)
        session.add(found)
        session.flush()
        return target, found
    if (found.format, found.options) != (format_, options):
        _begin_anew(session, found)
    queries.delete_refusals(session, found.id)  # they are met again, or were put right meanwhile
    found.format, found.options, found.status = format_, options, "running"
    found.imported = queries.count_images(session, found.id)
    found.found = found.refused = found.known = found.dropped = 0
    return target, found


def _begin_anew(session: Session, source: Import) -> None:
    """What an unfinished import with other options brought is in no version yet and makes room."""
    if queries.has_decisions(session, source.id):
        raise Invalid(
            f"An import of {source.source} with other options was left unfinished and its images were reviewed since; "
            "finish it with its first options."
        )
    queries.delete_images(session, source.id)


def record_batch(
    session: Session, dataset: Dataset, source: Import, batch: Batch, *, hints: Sequence[ClassHint], user: User
) -> None:
    """Write what became of one batch."""
    _yield_to_others(session, dataset, batch)
    if batch.taken and not source.imported:
        _announce_classes(session, dataset, user, hints)
    classes = _ensure_classes(session, dataset, batch, hints)
    roots = merge_roots(dataset_queries.list_classes(session, dataset.id))
    if batch.taken:
        session.execute(
            insert(Image),
            [
                _make_row(entry, facts, location, source=source, classes=classes, roots=roots)
                for entry, facts, location in batch.taken
            ],
        )
        _record_extras(session, dataset, [entry for entry, _, _ in batch.taken])
    _record_refusals(session, source, batch.refused)
    source.imported += len(batch.taken)
    source.refused += len(batch.refused)
    source.known += batch.known
    source.dropped += batch.dropped
    source.found = source.imported + source.refused + source.known + source.dropped


def _yield_to_others(session: Session, dataset: Dataset, batch: Batch) -> None:
    """Another import into the data set may have brought a path since the batch was compared with what is known."""
    paths = [entry.path for entry, _, _ in batch.taken]
    present = queries.list_known(session, dataset_id=dataset.id, paths=paths)
    if present:
        batch.taken = [row for row in batch.taken if row[0].path not in present]
        batch.known += len(paths) - len(batch.taken)


def _record_refusals(session: Session, source: Import, refused: Sequence[tuple[str, str]]) -> None:
    """One row for each, even where a table names one path in several rows."""
    taken = queries.list_refused_paths(session, source.id, paths=[path for path, _ in refused])
    rows = []
    for path, reason in refused:
        while path in taken:
            path += " (again)"
        taken.add(path)
        rows.append({"import_id": source.id, "path": path, "reason": reason})
    if rows:
        session.execute(insert(Refusal), rows)


def _ensure_classes(session: Session, dataset: Dataset, batch: Batch, hints: Sequence[ClassHint]) -> dict[str, Class]:
    """The classes of a batch by name; new ones in the source's order, else sorted as people count."""
    order = {hint.name: index for index, hint in enumerate(hints)}
    names = {name for entry, _, _ in batch.taken for name in entry.labels}
    ordered = sorted(names, key=lambda name: (order.get(name, len(order)), _natural(name)))
    return datasets.ensure_classes(session, dataset, ordered)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """So that 2 comes before 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _announce_classes(session: Session, dataset: Dataset, user: User, hints: Sequence[ClassHint]) -> None:
    """The classes that an export's manifest lists, images or not, with their looks where they are new here."""
    present = {cls.name: cls for cls in dataset_queries.list_classes(session, dataset.id)}
    new = [hint for hint in hints if hint.colour and hint.name not in present and not class_problem(hint.name)]
    made = datasets.ensure_classes(session, dataset, [hint.name for hint in new])
    taken_keys = {cls.key for cls in present.values() if cls.is_open}
    for hint in new:
        _dress(made[hint.name], hint, taken_keys=taken_keys)
    session.flush()
    lines = [Line("class_retire", class_id=made[hint.name].id) for hint in new if hint.retired]
    if lines:
        decisions.submit(session, dataset=dataset, user=user, lines=lines)


def _dress(cls: Class, hint: ClassHint, *, taken_keys: set[str]) -> None:
    """Colour and key from a manifest, if they are what colours and keys can be."""
    if re.fullmatch(r"#[0-9A-Fa-f]{6}", hint.colour):
        cls.colour = cls.first_colour = hint.colour
    key = hint.key if hint.key is not None and re.fullmatch(r"\d?", hint.key) else ""
    cls.key = cls.first_key = "" if key in taken_keys else key


def _make_row(
    entry: Entry, facts: Facts, location: str, *, source: Import, classes: Mapping[str, Class], roots: Mapping[int, int]
) -> dict[str, Any]:
    ids = [classes[name].id for name in entry.labels]
    is_ambiguous = entry.status == "ambiguous"
    label_id = None if is_ambiguous or not ids else ids[0]
    ambiguous_ids = sorted(set(ids)) if is_ambiguous else None
    return {
        "dataset_id": source.dataset_id,
        "import_id": source.id,
        "path": entry.path,
        "location": location,
        "file_sha256": facts.file_sha256,
        "pixel_sha256": facts.pixel_sha256,
        "width": facts.width,
        "height": facts.height,
        "mode": facts.mode,
        "media_type": facts.media_type,
        "size_bytes": facts.size_bytes,
        "first_label_id": label_id,
        "first_split": entry.split,
        "first_status": entry.status,
        "first_ambiguous_ids": ambiguous_ids,
        "base_label_id": label_id,
        "label_id": None if label_id is None else roots[label_id],
        "label_source": "imported",
        "status": entry.status,
        "ambiguous_ids": ambiguous_ids,
        "split": entry.split,
        "revision": 0,
    }


def _record_extras(session: Session, dataset: Dataset, entries: Sequence[Entry]) -> None:
    """Votes and attributes that came in the source's own columns."""
    rich = [entry for entry in entries if entry.votes or entry.attributes]
    if not rich:
        return
    ids = image_queries.map_paths(session, dataset_id=dataset.id, paths=[entry.path for entry in rich])
    write_attributes(session, {ids[entry.path]: entry.attributes for entry in rich if entry.attributes})
    votes = {ids[entry.path]: entry.votes for entry in rich if entry.votes}
    write_votes(session, dataset, votes, maps={})


def write_votes(
    session: Session, dataset: Dataset, votes: Mapping[int, Mapping[str, int]], *, maps: Mapping[str, str]
) -> None:
    """Replace what imports said of these images, by id; votes carried over stay. Options without one are not stored."""
    image_queries.delete_votes(session, list(votes))
    classes = {cls.name: cls.id for cls in dataset_queries.list_classes(session, dataset.id)}
    options = {option for counts in votes.values() for option in counts}
    matched = match_options(options, classes, maps=maps)
    rows = [
        {"image_id": image_id, "option": option, "class_id": matched[option], "count": count}
        for image_id, counts in votes.items()
        for option, count in counts.items()
        if count
    ]
    if rows:
        session.execute(insert(Vote), rows)
    refresh_votes(session, list(votes))


def write_attributes(session: Session, attributes: Mapping[int, Mapping[str, str]]) -> None:
    """Set these attributes of these images, by id; others that they have stay."""
    names = sorted({name for values in attributes.values() for name in values})
    image_queries.delete_attributes(session, list(attributes), names=names)
    rows = [
        {"image_id": image_id, "name": name, "value": value}
        for image_id, values in attributes.items()
        for name, value in values.items()
    ]
    if rows:
        session.execute(insert(Attribute), rows)


def finish_import(session: Session, dataset: Dataset, source: Import, *, user: User) -> None:
    """Make the images part of the data set's next version."""
    source.status, source.finished_at = "done", utc_now()
    if source.imported:
        decisions.submit(session, dataset=dataset, user=user, lines=[Line("import", detail={"import": source.id})])
        duplicates.refresh_exact_groups(session, dataset)


def discard_empty(session: Session, dataset: Dataset, source: Import) -> str:
    """Undo the traces of an import that took nothing in; returns the sentence that says why."""
    refusals = queries.list_refusals(session, source.id)
    sentence = f"There is nothing to import in {source.source}"
    if refusals:
        path, reason = refusals[0]
        sentence += f": all {len(refusals):,} files were refused, the first ({path}): {reason}"
    elif source.dropped:
        sentence += f": all {source.dropped:,} images are of classes that were dropped"
    queries.delete_refusals(session, source.id)
    session.delete(source)
    session.flush()
    if not (queries.count_imports(session, dataset.id) or dataset_queries.count_images(session, dataset.id)):
        session.delete(dataset)
    return sentence + "."


def summarize(session: Session, dataset: Dataset, source: Import) -> dict[str, Any]:
    """What `import --json` answers; classes, splits and copies are those of the whole data set."""
    labels = dataset_queries.count_labels(session, dataset.id)
    classes = dataset_queries.list_open_classes(session, dataset.id)
    splits = dataset_queries.count_splits(session, dataset.id)
    return {
        "dataset": dataset.name,
        "import": source.id,
        "format": source.format,
        "found": source.found,
        "imported": source.imported,
        "known": source.known,
        "dropped": source.dropped,
        "refused": [{"path": path, "reason": reason} for path, reason in queries.list_refusals(session, source.id)],
        "exact_duplicates": queries.count_exact_copies(session, dataset.id),
        "classes": {cls.name: labels.get(cls.id, 0) for cls in classes},
        "splits": {split or "none": count for split, count in sorted(splits.items(), key=lambda item: item[0] or "~")},
    }
