"""Where a source's files are: a folder, or a zip archive that is read in place and never unpacked.

Names come out in one order, folder by folder, so that an import that was killed meets the same files again.
"""

import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from workbench.errors import Invalid

MAX_FILE_BYTES = 256 * 2**20
MAX_ARCHIVE_FILES = 2_000_000
MAX_DIRECTORY_BYTES = 512 * 2**20  # the list of its files, which is read whole before anything else
MAX_ARCHIVE_BYTES = 256 * 2**30  # unpacked
MAX_ARCHIVE_RATIO = 200  # unpacked to packed, for archives of more than a gigabyte
_END_BYTES = 2**16 + 200  # the end records with the longest comment
_IN_ZIP64 = 2**32 - 1
_RATIO_FROM_BYTES = 2**30
_IGNORED = {"thumbs.db", "desktop.ini", "__macosx"}


class Refused(Exception):
    """One file cannot be taken in; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a tree: its path below the tree's root, and why it cannot be read, if so."""

    path: str
    problem: str = ""


class Tree(Protocol):
    """Files by their path, whatever holds them."""

    def members(self) -> Iterator[Member]:
        """All files but hidden ones, in order."""

    def tables(self) -> list[str]:
        """The CSV files at its top; in an archive also those in the folders at its top."""

    def read(self, path: str) -> bytes:
        """The bytes of one file; raises Refused."""

    def open(self, path: str) -> IO[bytes]:
        """One file as a stream, for tables."""

    def has(self, path: str) -> bool: ...

    def has_folder(self, path: str) -> bool: ...

    def location(self, path: str) -> str | None:
        """The absolute path of a file that can be referenced in place, none if its bytes must be stored."""

    def close(self) -> None: ...


def open_tree(source: Path) -> Tree:
    """The tree of a folder or an archive, and of the folder around a table; raises Invalid."""
    if source.is_dir():
        return FolderTree(source)
    if not source.is_file():
        raise Invalid(f"There is no file or folder “{source}”.")
    if zipfile.is_zipfile(source):
        return ZipTree(source)
    if source.suffix.lower() in (".csv", ".tsv", ".txt"):
        return FolderTree(source.parent)
    raise Invalid(f"“{source.name}” is neither a folder, a zip archive nor a CSV file.")


def is_ignored(name: str) -> bool:
    """Files that systems leave behind, and hidden ones."""
    return name.startswith(".") or name.lower() in _IGNORED


class FolderTree:
    """A folder on disk. Links to files are followed; a link to a folder is named and left out."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def members(self) -> Iterator[Member]:
        yield from self._walk(self._root, "")

    def _walk(self, folder: Path, prefix: str) -> Iterator[Member]:
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield Member(_speakable(prefix or "."), f"the folder cannot be read ({error.strerror})")
            return
        for entry in entries:
            path = prefix + entry.name
            if is_ignored(entry.name):
                continue
            if not _is_utf8(entry.name):
                yield Member(_speakable(path), "the name is not UTF-8")
            elif entry.is_dir(follow_symlinks=False):
                yield from self._walk(folder / entry.name, path + "/")
            elif _links_to_folder(entry):
                yield Member(path, "a link to a folder; import that folder itself")
            else:
                yield Member(path)

    def tables(self) -> list[str]:
        return sorted(path.name for path in self._root.glob("*.[cC][sS][vV]") if not is_ignored(path.name))

    def read(self, path: str) -> bytes:
        try:
            handle = os.open(f"{self._root}/{path}", os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            raise Refused("there is no such file") from None
        except OSError as error:
            raise Refused(f"the file cannot be read ({error.strerror})") from error
        with os.fdopen(handle, "rb", buffering=0) as file:
            return _read_file(file, handle)

    def open(self, path: str) -> IO[bytes]:
        return (self._root / path).open("rb")

    def has(self, path: str) -> bool:
        return (self._root / path).is_file()

    def has_folder(self, path: str) -> bool:
        return (self._root / path).is_dir()

    def location(self, path: str) -> str | None:
        return f"{self._root}/{path}"

    def close(self) -> None:
        pass


def _links_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:  # a link to itself, for one; reading it says what is wrong
        return False


def _read_file(file: IO[bytes], handle: int) -> bytes:
    """A regular file of a sane size, whole."""
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode):
        raise Refused("not a regular file")
    if facts.st_size > MAX_FILE_BYTES:
        raise Refused(f"larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        return file.read()
    except OSError as error:
        raise Refused(f"the file cannot be read ({error.strerror})") from error


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _speakable(path: str) -> str:
    """A path that can be stored and shown, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class ZipTree:
    """A zip archive, refused whole if it is a bomb, file by file if a file is not what it should be."""

    def __init__(self, path: Path) -> None:
        try:
            _check_directory(path)
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise Invalid(f"“{path.name}” is not a whole zip archive ({error}).") from error
        self._name = path.name
        try:
            self._check_size(path.stat().st_size)
        except Invalid:
            self._zip.close()
            raise
        self._infos: dict[str, zipfile.ZipInfo] = {}
        self._members: list[Member] = []
        for info in sorted(self._zip.infolist(), key=lambda info: _parts(info.filename)):
            self._add(info)

    def _check_size(self, archive_bytes: int) -> None:
        infos = self._zip.infolist()
        unpacked = sum(info.file_size for info in infos)
        packed = sum(info.compress_size for info in infos)
        if len(infos) > MAX_ARCHIVE_FILES:
            raise Invalid(f"“{self._name}” holds more than {MAX_ARCHIVE_FILES:,} files; unpack it and import parts.")
        if packed > archive_bytes:
            raise Invalid(f"“{self._name}” is not a sound archive: its files overlap.")
        bomb = unpacked > _RATIO_FROM_BYTES and unpacked > MAX_ARCHIVE_RATIO * archive_bytes
        if unpacked > MAX_ARCHIVE_BYTES or bomb:
            raise Invalid(f"“{self._name}” would unpack to {unpacked / 2**30:,.1f} GiB; that is taken for a bomb.")

    def _add(self, info: zipfile.ZipInfo) -> None:
        path = "/".join(_parts(info.filename))
        if info.is_dir() or any(is_ignored(part) for part in path.split("/") if part != ".."):
            return
        problem = _problem(info, path)
        if not problem and path in self._infos:
            problem = "the archive holds this name twice; the first one was taken"
        if not problem:
            self._infos[path] = info
        self._members.append(Member(path, problem))

    def members(self) -> Iterator[Member]:
        return iter(self._members)

    def tables(self) -> list[str]:
        found = [path for path in self._infos if path.lower().endswith(".csv") and path.count("/") <= 1]
        return sorted(found, key=lambda path: (path.count("/"), path))

    def read(self, path: str) -> bytes:
        info = self._infos.get(path)
        if info is None:
            raise Refused("there is no such file")
        try:
            with self._zip.open(info) as file:
                return file.read(info.file_size)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise Refused(f"the archive is damaged here ({error})") from error
        except (NotImplementedError, RuntimeError) as error:
            raise Refused(f"the archive cannot be read here ({error})") from error

    def open(self, path: str) -> IO[bytes]:
        return self._zip.open(self._infos[path])

    def has(self, path: str) -> bool:
        return path in self._infos

    def has_folder(self, path: str) -> bool:
        return any(member.path.startswith(path + "/") for member in self._members)

    def location(self, path: str) -> str | None:  # noqa: ARG002 - the signature is Tree's
        return None

    def close(self) -> None:
        self._zip.close()


def _check_directory(path: Path) -> None:
    """Refuse a list of files that would fill the memory; raises Invalid."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_BYTES))
        tail = file.read()
    small, large = tail.rfind(b"PK\5\6"), tail.rfind(b"PK\6\6")
    sizes = []
    if small >= 0 and len(tail) >= small + 16:
        sizes.append(int.from_bytes(tail[small + 12 : small + 16], "little"))
    if large >= 0 and len(tail) >= large + 48:
        sizes.append(int.from_bytes(tail[large + 40 : large + 48], "little"))
    if any(size > MAX_DIRECTORY_BYTES for size in sizes if size != _IN_ZIP64):
        raise Invalid(f"“{path.name}” holds more than {MAX_ARCHIVE_FILES:,} files; unpack it and import parts.")


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _problem(info: zipfile.ZipInfo, path: str) -> str:
    """Why one file of an archive is refused unread."""
    name = info.filename.replace("\\", "/")
    if name.startswith("/") or name[1:3] == ":/" or ".." in PurePosixPath(path).parts:
        return "the name leads out of the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link, not a file"
    if info.flag_bits & 0x1:
        return "encrypted"
    if info.file_size > MAX_FILE_BYTES:
        return f"larger than {MAX_FILE_BYTES // 2**20} MiB"
    if path.lower().endswith((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")):
        return "an archive inside the archive; unpack it first"
    return ""
