"""One archive of an installation, made while it is served, and a home made from one.

Held: the database as of one moment, stored objects, runs and uploads. Not held: thumbnails (made again on demand),
consensus by reviewer quality (computed again at a key press) and the key that signs sessions (everybody logs in again).
"""

import contextlib
import json
import os
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from alembic.util import CommandError

from workbench.config import Home
from workbench.db import Database, is_healthy, migrate
from workbench.errors import Invalid
from workbench.models import utc_now
from workbench.queries import datasets as dataset_queries

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "workbench.sqlite"
FOLDERS = ("objects", "runs", "uploads")
_DERIVED = "consensus"  # computed of the decisions that a restore replaces: it goes, and is computed anew
_REPLACED = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", "jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm")
_TAR_MODES = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz"}

Progress = Callable[[int, int, str], None]
Add = Callable[[Path, str], None]


# --- making one -------------------------------------------------------------------------------------------------


def make_backup(home: Home, target: Path, *, version: str, on_progress: Progress | None = None) -> dict[str, Any]:
    """Write the archive (.tar, .tar.gz or .tgz, else zip) under another name and rename it. Returns its manifest.

    The database comes first: files are written before the rows that name them, so that every row finds its files.
    """
    target = target.expanduser().absolute()
    if target.exists():
        raise Invalid(f"“{target.name}” exists already; choose another name or delete it first.")
    if not target.parent.is_dir():
        raise Invalid(f"There is no folder “{target.parent}”.")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as folder:
            manifest = _fill(
                home, temporary, Path(folder), kind=target.suffix, version=version, on_progress=on_progress
            )
        _sync(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


def _fill(
    home: Home, archive: Path, folder: Path, *, kind: str, version: str, on_progress: Progress | None
) -> dict[str, Any]:
    snapshot = folder / DATABASE
    _copy_database(home.database, snapshot)
    paths = list(_list_files(home))
    count = 0
    with _open_writer(archive, kind) as add:
        add(snapshot, DATABASE)
        for path in paths:
            with contextlib.suppress(FileNotFoundError):  # a training ended meanwhile and cleaned up
                add(path, path.relative_to(home.root).as_posix())
                count += 1
            if on_progress:
                on_progress(count, len(paths), "Backing up")
        manifest = {"format": FORMAT, "version": version, "made_at": utc_now().isoformat(), "files": count + 1}
        (folder / MANIFEST).write_text(json.dumps(manifest))
        add(folder / MANIFEST, MANIFEST)  # last: an archive that has it is whole
    return manifest


def _copy_database(source: Path, target: Path) -> None:
    """SQLite's online backup: one moment, whatever is written meanwhile."""
    closing = contextlib.closing
    with closing(sqlite3.connect(source, timeout=15)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _list_files(home: Home) -> Iterator[Path]:
    """Whole files only: no half-written ones, no locks."""
    for name in FOLDERS:
        for parent, folders, files in os.walk(home.root / name):
            folders.sort()
            for file in sorted(files):
                if not (file.startswith(".") or file.endswith(".tmp") or file == "lock"):
                    yield Path(parent) / file


@contextmanager
def _open_writer(path: Path, kind: str) -> Iterator[Add]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w+b") as file:
        if kind in _TAR_MODES:
            with tarfile.open(fileobj=file, mode=_TAR_MODES[kind]) as tar:  # type: ignore[call-overload]
                yield lambda path, name: tar.add(path, name, recursive=False)
        else:
            with zipfile.ZipFile(file, "w", strict_timestamps=False) as archive:
                yield lambda path, name: archive.write(path, name, _choose_compression(name))


def _choose_compression(name: str) -> int:
    """Pictures and weights are dense already."""
    return zipfile.ZIP_DEFLATED if name == DATABASE else zipfile.ZIP_STORED


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


# --- reading one ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_file: bool
    open: Callable[[], IO[bytes]]


def restore_backup(
    home: Home, source: Path, *, force: bool = False, on_progress: Progress | None = None
) -> dict[str, Any]:
    """Make the home what the archive holds. Everything is unpacked and checked first, then swapped in by renaming.

    A home that holds data is refused unless `force`; what it held is deleted after the swap. Stop serving it before.
    """
    if not source.is_file():
        raise Invalid(f"There is no file “{source}”.")
    if not force and _holds_data(home):
        raise Invalid(f"{home.root} holds data; give another --home, or --force to replace what is there.")
    with tempfile.TemporaryDirectory(dir=home.root, prefix=".restore-") as folder:
        fresh = Home(Path(folder) / "home")
        fresh.root.mkdir(mode=0o700)
        with _open_reader(source) as members:
            _check_members(members, source, free_bytes=shutil.disk_usage(home.root).free)
            _unpack(members, fresh.root, on_progress=on_progress)
        manifest = _check_unpacked(fresh, source)
        _swap(home, fresh, old=Path(folder) / "old")
    return manifest


def _holds_data(home: Home) -> bool:
    if not home.database.exists():
        return False
    migrate(home)
    database = Database(home)
    try:
        with database.read() as session:
            return bool(dataset_queries.list_names(session))
    finally:
        database.close()


@contextmanager
def _open_reader(source: Path) -> Iterator[list[_Member]]:
    try:
        if tarfile.is_tarfile(source):  # first: a tar that ends with predictions, which are a zip, looks like one too
            with tarfile.open(source) as tar:
                yield [_tar_member(tar, info) for info in tar]
        elif zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                yield [_zip_member(archive, info) for info in archive.infolist()]
        else:
            raise _not_a_backup(source)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise Invalid(f"“{source.name}” is damaged: {error}.") from error


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = info.external_attr >> 28  # the file type of its Unix mode; 8 a file, 0 not said
    return _Member(info.filename, info.file_size, kind in (0, 8) and not info.is_dir(), lambda: archive.open(info))


def _tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    def open_() -> IO[bytes]:
        file = tar.extractfile(info)
        if file is None:
            raise Invalid(f"“{info.name}” is not a file.")
        return file

    return _Member(info.name, info.size, info.isreg(), open_)


def _not_a_backup(source: Path) -> Invalid:
    return Invalid(f"“{source.name}” is not a backup made by workbench backup.")


def _check_members(members: list[_Member], source: Path, *, free_bytes: int) -> None:
    """Only whole plain files, under the names that a backup has, each once, and no more than the disk takes."""
    names = [member.name for member in members]
    if not {MANIFEST, DATABASE} <= set(names):
        raise _not_a_backup(source)
    for member in members:
        if not (member.is_file and _is_expected(member.name)):
            raise Invalid(f"The archive holds “{member.name[:100]}”, which does not belong in a backup.")
    if len(set(names)) != len(names):
        raise Invalid("The archive holds a file twice.")
    if sum(member.size for member in members) > free_bytes:
        raise Invalid("There is not enough room on the disk for what the archive holds.")


def _is_expected(name: str) -> bool:
    parts = PurePosixPath(name).parts
    is_plain = name == "/".join(parts) and ".." not in parts and "\\" not in name and "\0" not in name
    return is_plain and (name in (MANIFEST, DATABASE) or (len(parts) > 1 and parts[0] in FOLDERS))


def _unpack(members: list[_Member], root: Path, *, on_progress: Progress | None) -> None:
    for done, member in enumerate(members, 1):
        path = root / member.name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as target, member.open() as content:
            shutil.copyfileobj(content, target)
        if on_progress:
            on_progress(done, len(members), "Restoring")


def _check_unpacked(fresh: Home, source: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((fresh.root / MANIFEST).read_text(encoding="utf-8"))
        is_known = isinstance(manifest, dict) and manifest.get("format") == FORMAT
    except ValueError:
        is_known = False
    if not is_known:
        raise _not_a_backup(source)
    (fresh.root / MANIFEST).unlink()
    try:
        migrate(fresh)
    except CommandError as error:
        raise Invalid(f"“{source.name}” was made by a newer version of the workbench; update first.") from error
    except Exception as error:
        raise Invalid(f"The database in “{source.name}” cannot be opened ({type(error).__name__}).") from error
    _check_database(fresh, source)
    return dict(manifest)


def _check_database(fresh: Home, source: Path) -> None:
    database = Database(fresh)
    try:
        if not is_healthy(database):
            raise Invalid(f"The database in “{source.name}” is damaged.")
    finally:
        database.close()


def _swap(home: Home, fresh: Home, *, old: Path) -> None:
    """Renames only: the old things out, the new ones in. Thumbnails go by pixels and may stay."""
    old.mkdir()
    for name in (*_REPLACED, *FOLDERS, _DERIVED):
        if (home.root / name).exists():
            (home.root / name).rename(old / name)
        if (fresh.root / name).exists():
            (fresh.root / name).rename(home.root / name)
