"""Bytes on disk: stored objects, referenced files, thumbnails, and pictures as a browser can show them.

Objects are written to a temporary name and renamed, so a name that exists is whole. Single files are not synced:
the import calls `sync` once before it is declared finished, and an import that a power cut interrupted is run again
and writes again what is missing. Every read compares the bytes with the hash that the import noted.
"""

import hashlib
import io
import os
import threading
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageOps

from workbench.config import Home
from workbench.errors import NotFound
from workbench.models import Image

STORED = "object"  # the location of images whose bytes are stored here
THUMBNAIL_QUALITY = 85
_SHOWN_BY_BROWSERS = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp")


def object_path(home: Home, sha256: str) -> Path:
    return Path(_object_name(home, sha256))


def _object_name(home: Home, sha256: str) -> str:
    return f"{home.root}/objects/{sha256[:2]}/{sha256[2:]}"  # a string: an import makes one for every image


def put_object(home: Home, data: bytes, *, sha256: str | None = None) -> str:
    """Store bytes under their SHA-256, which is returned; bytes that are there already are left alone.

    sha256: their hash, if the caller has computed it.
    """
    sha256 = sha256 or hashlib.sha256(data).hexdigest()
    name = _object_name(home, sha256)
    if not _has_size(name, len(data)):
        _write(name, data)
    return sha256


def _has_size(name: str, size: int) -> bool:
    """Whether the file is there, whole: a power cut may leave an empty one behind."""
    try:
        return os.stat(name).st_size == size  # noqa: PTH116 - half the cost of Path.stat, for every image of an import
    except FileNotFoundError:
        return False


def _write(name: str, data: bytes) -> None:
    """Write beside the place, then rename. The other name is this thread's own, so what a kill left is overwritten."""
    temporary = f"{name}.{os.getpid()}-{threading.get_ident()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(temporary, flags, 0o600)
    except FileNotFoundError:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, flags, 0o600)
    try:
        try:
            view = memoryview(data)
            while view:  # without a file object: two system calls less for each of an import's images
                view = view[os.write(handle, view) :]
        finally:
            os.close(handle)
        os.replace(temporary, name)  # noqa: PTH105 - as above
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def sync() -> None:
    """Let everything that was written reach the disk."""
    if hasattr(os, "sync"):
        os.sync()


def read_bytes(home: Home, image: Image) -> bytes:
    """The bytes that were imported; NotFound if the file vanished or has changed since."""
    return read_file(home, path=image.path, location=image.location, file_sha256=image.file_sha256)


def read_file(home: Home, *, path: str, location: str, file_sha256: str) -> bytes:
    """As `read_bytes`, for callers that have columns instead of an Image."""
    stored = location == STORED
    place = object_path(home, file_sha256) if stored else Path(location)
    try:
        data = place.read_bytes()
    except OSError as error:
        advice = "restore it from a backup or import its source again" if stored else "put it back where it was"
        raise NotFound(f"The file of {path} is gone or cannot be read ({error.strerror}): {advice}.") from error
    if hashlib.sha256(data).hexdigest() != file_sha256:
        advice = "restore it from a backup" if stored else "put the imported file back, or import it under another name"
        raise NotFound(f"The file of {path} has changed since it was imported: {advice}.")
    return data


def thumbnail(home: Home, image: Image, *, size: int) -> tuple[bytes, str]:
    """The picture within size x size pixels and its media type. Small ones are a PNG of all their pixels.

    Made once for each picture, whatever the names of its copies, and kept.
    """
    as_png = image.mode == "RGBA" or max(image.width, image.height) <= size
    suffix, media_type = ("png", "image/png") if as_png else ("jpg", "image/jpeg")
    cached = home.thumbnails / str(size) / image.pixel_sha256[:2] / f"{image.pixel_sha256[2:]}.{suffix}"
    try:
        return cached.read_bytes(), media_type
    except FileNotFoundError:
        pass
    with _open_viewable(read_bytes(home, image)) as picture:
        if max(picture.size) > size:
            picture.thumbnail((size, size), Picture.Resampling.LANCZOS)
        data = _encode(picture, as_png=as_png)
    _write(str(cached), data)
    return data, media_type


def display_bytes(home: Home, image: Image) -> tuple[bytes, str]:
    """The picture at full size as a browser can show it, and its media type: as imported where that will do."""
    data = read_bytes(home, image)
    if image.media_type in _SHOWN_BY_BROWSERS and image.mode != "I;16" and not _is_cmyk(image, data):
        return data, image.media_type
    with _open_viewable(data) as picture:
        as_jpeg = image.media_type == "image/jpeg"
        return _encode(picture, as_png=not as_jpeg), "image/jpeg" if as_jpeg else "image/png"


def _is_cmyk(image: Image, data: bytes) -> bool:
    if image.media_type != "image/jpeg":
        return False
    with Picture.open(io.BytesIO(data)) as picture:
        return picture.mode == "CMYK"


def _open_viewable(data: bytes) -> Picture.Image:
    """Upright, in 8 bits, as grey, RGB or RGBA."""
    picture = Picture.open(io.BytesIO(data))
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):  # 16-bit grey, shown over its whole range
        values = np.asarray(upright).astype(np.uint32)
        return Picture.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if upright.mode in ("LA", "PA", "RGBA") or "transparency" in upright.info:
        return upright.convert("RGBA")
    return upright if upright.mode in ("L", "RGB") else upright.convert("L" if upright.mode == "1" else "RGB")


def _encode(picture: Picture.Image, *, as_png: bool) -> bytes:
    """Without any metadata of the original: places and camera serials stay in the imported file."""
    picture.info.clear()
    target = io.BytesIO()
    if as_png:
        picture.save(target, "PNG", compress_level=1)
    else:
        if picture.mode == "RGBA":
            picture = picture.convert("RGB")
        picture.save(target, "JPEG", quality=THUMBNAIL_QUALITY)
    return target.getvalue()
