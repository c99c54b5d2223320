"""Bytes on disk: stored once, checked when read, shown as a browser can show them."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from ml.images import inspect
from tests.drawing import draw
from workbench import storage
from workbench.config import Home
from workbench.errors import NotFound
from workbench.models import Image


def store(home: Home, data: bytes, *, path: str = "cat/1.png", location: str = "object") -> Image:
    """An image row as an import makes it."""
    facts = inspect(data)
    if location == "object":
        storage.put_object(home, data)
    return Image(
        path=path, location=location, file_sha256=facts.file_sha256, pixel_sha256=facts.pixel_sha256,
        width=facts.width, height=facts.height, mode=facts.mode, media_type=facts.media_type,
    )  # fmt: skip


def save(picture: Picture.Image, format_: str, **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, format_, **options)
    return target.getvalue()


def open_picture(data: bytes) -> Picture.Image:
    picture = Picture.open(io.BytesIO(data))
    picture.load()
    return picture


def test_an_object_is_stored_once_under_its_hash(home: Home) -> None:
    sha256 = storage.put_object(home, b"abc")
    path = storage.object_path(home, sha256)
    stamp = path.stat().st_mtime_ns

    assert storage.put_object(home, b"abc") == sha256 == hashlib.sha256(b"abc").hexdigest()
    assert path == home.objects / sha256[:2] / sha256[2:]
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode & 0o777) == (b"abc", stamp, 0o600)
    assert [each.name for each in home.objects.rglob("*") if each.is_file()] == [sha256[2:]]


def test_a_referenced_file_that_vanished_or_changed_is_named(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "1.png"
    file.write_bytes(draw(1))
    image = store(home, draw(1), location=str(file))
    assert storage.read_bytes(home, image) == draw(1)

    file.write_bytes(draw(2))
    with pytest.raises(NotFound, match=r"^The file of cat/1.png has changed since it was imported: put the imported"):
        storage.read_bytes(home, image)
    file.unlink()
    with pytest.raises(NotFound, match=r"^The file of cat/1.png is gone .*: put it back where it was\.$"):
        storage.read_bytes(home, image)


def test_a_lost_object_is_named(home: Home) -> None:
    image = store(home, draw(1))
    storage.object_path(home, image.file_sha256).unlink()
    with pytest.raises(NotFound, match="restore it from a backup or import its source again"):
        storage.read_bytes(home, image)


def test_a_small_picture_is_its_own_thumbnail(home: Home) -> None:
    image = store(home, draw(1, size=48))

    data, media_type = storage.thumbnail(home, image, size=96)

    assert media_type == "image/png"
    np.testing.assert_array_equal(np.asarray(open_picture(data)), np.asarray(open_picture(draw(1, size=48))))


@pytest.mark.parametrize(
    ("mode", "media_type", "format_"),
    [("RGB", "image/jpeg", "JPEG"), ("L", "image/jpeg", "JPEG"), ("RGBA", "image/png", "PNG")],
)
def test_a_large_picture_is_shrunk_within_the_size(home: Home, mode: str, media_type: str, format_: str) -> None:
    colour = {"RGB": (200, 10, 10), "L": 77, "RGBA": (1, 2, 3, 100)}[mode]
    image = store(home, save(Picture.new(mode, (300, 100), colour), "PNG"))

    data, found_type = storage.thumbnail(home, image, size=60)

    picture = open_picture(data)
    assert (found_type, picture.format, picture.size) == (media_type, format_, (60, 20))


def test_a_thumbnail_is_kept_and_serves_every_copy_of_the_picture(home: Home) -> None:
    image = store(home, draw(1))
    first = storage.thumbnail(home, image, size=96)
    storage.object_path(home, image.file_sha256).unlink()

    copy = store(home, save(open_picture(draw(1)), "BMP"), path="other.bmp", location="/nowhere")
    assert storage.thumbnail(home, copy, size=96) == first
    assert len([path for path in home.thumbnails.rglob("*") if path.is_file()]) == 1


UNUSUAL = {
    "16 bit": (save(Picture.fromarray(np.full((9, 7), 32896, np.uint16)), "PNG"), "image/png", 128),
    "tiff": (save(Picture.new("L", (7, 9), 9), "TIFF"), "image/png", 9),
    "pgm": (save(Picture.new("L", (7, 9), 9), "PPM"), "image/png", 9),
    "cmyk": (save(Picture.new("CMYK", (7, 9), (0, 0, 0, 255)), "JPEG"), "image/jpeg", (0, 0, 0)),
    "one bit": (save(Picture.new("1", (7, 9), 1), "TIFF"), "image/png", 255),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_browsers_do_not_show_becomes_what_they_do(home: Home, name: str) -> None:
    original, media_type, value = UNUSUAL[name]
    image = store(home, original)

    data, found_type = storage.display_bytes(home, image)

    picture = open_picture(data)
    assert (found_type, picture.size, picture.getpixel((3, 3))) == (media_type, (7, 9), value)
    assert storage.thumbnail(home, image, size=96)[1] == "image/png"


def test_what_browsers_show_is_sent_as_it_is(home: Home) -> None:
    for format_ in ("PNG", "JPEG", "GIF", "WEBP", "BMP"):
        data = draw(1, format_=format_, colour=format_ == "JPEG")
        assert storage.display_bytes(home, store(home, data))[0] == data


def test_a_thumbnail_stands_upright_and_carries_no_metadata(home: Home) -> None:
    exif = Picture.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    image = store(home, save(Picture.new("RGB", (400, 200), (9, 99, 9)), "JPEG", exif=exif, comment=b"secret place"))

    data, _ = storage.thumbnail(home, image, size=100)

    assert open_picture(data).size == (50, 100)
    assert b"camera" not in data
    assert b"secret" not in data
