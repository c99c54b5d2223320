"""ml.images: what is decoded right, what is refused with a reason, what counts as the same picture."""

import hashlib
import io
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ml import images
from ml.images import Unreadable, decode, inspect, load_batch

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)


def save(picture: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, format_, **options)
    return target.getvalue()


def png(pixels: NDArray[np.generic], **options: object) -> bytes:
    return save(Image.fromarray(pixels), **options)


def test_the_facts_of_a_grey_png_are_those_that_the_bytes_give() -> None:
    data = png(GREY)

    facts = inspect(data, name="a.png")

    assert (facts.width, facts.height, facts.mode, facts.media_type, facts.size_bytes) == (
        8, 6, "L", "image/png", len(data),
    )  # fmt: skip
    assert facts.file_sha256 == hashlib.sha256(data).hexdigest()
    assert facts.pixel_sha256 == hashlib.sha256(b"L 8 6\n" + GREY.tobytes()).hexdigest()
    np.testing.assert_array_equal(decode(data), GREY)


@pytest.mark.parametrize(
    ("format_", "media_type"),
    [
        ("PNG", "image/png"), ("GIF", "image/gif"), ("BMP", "image/bmp"), ("TIFF", "image/tiff"),
        ("PPM", "image/x-portable-anymap"),
    ],
)  # fmt: skip
def test_one_picture_in_every_lossless_format_has_one_pixel_hash(format_: str, media_type: str) -> None:
    facts = inspect(save(Image.fromarray(GREY), format_), name="a.jpg")

    assert facts.pixel_sha256 == inspect(png(GREY)).pixel_sha256
    assert facts.media_type == media_type


def test_webp_and_jpeg_are_decoded() -> None:
    webp = inspect(save(Image.fromarray(COLOUR), "WEBP", lossless=True))
    assert (webp.media_type, webp.pixel_sha256) == ("image/webp", inspect(png(COLOUR)).pixel_sha256)
    jpeg = save(Image.fromarray(COLOUR), "JPEG", quality=95)
    assert (inspect(jpeg).media_type, decode(jpeg).shape) == ("image/jpeg", (6, 8, 3))


SAME_AS_GREY = {
    "rgb with equal channels": Image.fromarray(np.stack([GREY] * 3, axis=2)),
    "opaque alpha": Image.merge("RGBA", [Image.fromarray(GREY)] * 3 + [Image.new("L", (8, 6), 255)]),
    "grey with opaque alpha": Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (8, 6), 255)]),
    "palette": Image.fromarray(GREY).convert("P"),
}


@pytest.mark.parametrize("name", SAME_AS_GREY)
def test_the_same_picture_stored_otherwise_has_the_same_pixels(name: str) -> None:
    facts = inspect(save(SAME_AS_GREY[name]))

    assert (facts.mode, facts.pixel_sha256) == ("L", inspect(png(GREY)).pixel_sha256)


def test_pixels_differ_where_values_size_or_mode_differ() -> None:
    changed = GREY.copy()
    changed[5, 7] ^= 1
    variants = [GREY, changed, GREY.reshape(8, 6), COLOUR, GREY.astype(np.uint16)]

    assert len({inspect(png(pixels)).pixel_sha256 for pixels in variants}) == 5


def test_one_bit_pictures_become_black_and_white() -> None:
    bits = (np.indices((5, 9)).sum(axis=0) % 2).astype(bool)

    np.testing.assert_array_equal(decode(save(Image.fromarray(bits))), bits * np.uint8(255))


def test_transparency_is_kept_where_it_hides_something() -> None:
    alpha = np.dstack([COLOUR, np.full((6, 8), 255, np.uint8)])
    alpha[0, 0, 3] = 10
    np.testing.assert_array_equal(decode(png(alpha)), alpha)

    palette = Image.fromarray(GREY).convert("P")
    decoded = decode(save(palette, transparency=0))
    assert decoded.shape == (6, 8, 4)
    assert set(np.unique(decoded[..., 3])) == {0, 255}


def test_a_transparent_colour_becomes_alpha() -> None:
    decoded = decode(save(Image.fromarray(COLOUR), transparency=tuple(int(value) for value in COLOUR[2, 3])))

    assert decoded.shape == (6, 8, 4)
    assert decoded[2, 3, 3] == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotation_by_exif_is_carried_out(orientation: int) -> None:
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that undoes it
    picture = Image.fromarray(GREY)
    stored = picture.transpose(Image.Transpose(back[orientation])) if orientation > 1 else picture
    exif = Image.Exif()
    exif[0x0112] = orientation

    facts = inspect(save(stored, exif=exif))

    assert (facts.width, facts.height) == (8, 6)
    assert facts.pixel_sha256 == inspect(png(GREY)).pixel_sha256


def test_tiff_rotated_by_exif_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = inspect(save(Image.fromarray(GREY).transpose(Image.Transpose.ROTATE_90), "TIFF", exif=exif))

    assert (facts.width, facts.height, facts.pixel_sha256) == (8, 6, inspect(png(GREY)).pixel_sha256)


def test_cmyk_becomes_rgb() -> None:
    facts = inspect(save(Image.new("CMYK", (4, 3), (0, 255, 255, 0)), "TIFF"))

    assert (facts.mode, facts.width, facts.height) == ("RGB", 4, 3)
    assert decode(save(Image.new("CMYK", (4, 3), (0, 255, 255, 0)), "TIFF"))[0, 0].tolist() == [255, 0, 0]


def test_sixteen_bit_grey_keeps_its_values_in_the_hash_and_is_scaled_for_display() -> None:
    deep = np.array([[0, 257, 65535], [128, 32896, 1000]], dtype=np.uint16)
    facts = inspect(png(deep))

    assert facts.mode == "I;16"
    assert facts.pixel_sha256 == hashlib.sha256(b"I;16 3 2\n" + deep.astype("<u2").tobytes()).hexdigest()
    assert decode(png(deep)).tolist() == [[0, 1, 255], [0, 128, 4]]
    assert inspect(save(Image.fromarray(deep), "TIFF")).pixel_sha256 == facts.pixel_sha256


def animated(format_: str) -> bytes:
    frames = [Image.fromarray(GREY + step) for step in (0, 90)]
    return save(frames[0], format_, save_all=True, append_images=frames[1:])


def header_only_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


REFUSED = {
    "empty": (b"", "the file is empty"),
    "text": (b"hello, this is no picture", "not an image (.txt file)"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a document of markup (SVG or HTML)"),
    "html": (b"\n <!DOCTYPE html><html>", "a document of markup (SVG or HTML)"),
    "pdf": (b"%PDF-1.7 ...", "not an image (.txt file)"),
    "cut png": (png(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))[:700], "damaged or cut short"),
    "cut jpeg": (save(Image.fromarray(COLOUR).resize((200, 200)), "JPEG")[:900], "damaged or cut short"),
    "header of a png": (png(GREY)[:20], "damaged or cut short"),
    "animated gif": (animated("GIF"), "2 frames; only single pictures"),
    "animated png": (animated("PNG"), "2 frames; only single pictures"),
    "animated webp": (animated("WEBP"), "2 frames; only single pictures"),
    "pages": (animated("TIFF"), "2 pages; only single pictures"),
    "too many pixels": (header_only_png(10_000, 9_000), "10,000 x 9,000 pixels are more than 89,478,485"),
    "bomb": (header_only_png(60_000, 60_000), "more than 89,478,485 pixels"),
    "no pixels": (header_only_png(0, 5), ""),
    "float": (save(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "pixels of type F"),
    "32 bit": (save(Image.fromarray(GREY.astype(np.int32) * 100_000), "TIFF"), "outside 0 to 65,535"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_one_reason(name: str) -> None:
    data, reason = REFUSED[name]

    with pytest.raises(Unreadable) as caught:
        inspect(data, name="a.txt")

    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_bytes_are_read_or_refused_and_nothing_else() -> None:
    rng = random.Random(7)
    sources = [
        png(COLOUR), save(Image.fromarray(COLOUR), "JPEG"), save(Image.fromarray(COLOUR), "GIF"),
        save(Image.fromarray(COLOUR), "BMP"), save(Image.fromarray(COLOUR), "WEBP"),
        save(Image.fromarray(COLOUR), "TIFF"), save(Image.fromarray(COLOUR), "PPM"),
        save(Image.fromarray(GREY).convert("P")),
    ]  # fmt: skip
    outcomes = {"read": 0, "refused": 0}
    for data in sources:
        for _ in range(150):
            broken = bytearray(data[: rng.randrange(len(data) // 2, 2 * len(data))])
            for _ in range(rng.randrange(4)):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
            try:
                inspect(bytes(broken), name="a.png")
                outcomes["read"] += 1
            except Unreadable:
                outcomes["refused"] += 1
    assert sum(outcomes.values()) == 8 * 150
    assert min(outcomes.values()) > 50


def test_a_batch_has_the_pixels_that_decode_gives() -> None:
    sources = [png(np.full((5, 5), value, np.uint8)) for value in (0, 100, 255)]

    batch = load_batch(sources, size=5, channels=1)

    assert (batch.dtype, batch.shape) == (np.uint8, (3, 1, 5, 5))
    np.testing.assert_array_equal(batch[:, 0], [decode(data) for data in sources])
    np.testing.assert_array_equal(load_batch(sources, size=5, channels=3), np.repeat(batch, 3, axis=1))


def test_a_batch_shrinks_by_area_and_lays_transparency_over_white() -> None:
    blocks = np.kron(np.array([[0, 200], [40, 80]], np.uint8), np.ones((3, 3), np.uint8))
    assert load_batch([png(blocks)], size=2, channels=1)[0, 0].tolist() == [[0, 200], [40, 80]]
    hidden = np.zeros((2, 2, 4), np.uint8)
    assert load_batch([png(hidden)], size=2, channels=3).min() == 255
    assert load_batch([png(GREY)], size=20, channels=1).shape == (1, 1, 20, 20)


def test_a_large_jpeg_is_shrunk_about_as_without_the_shortcut() -> None:
    smooth = np.add.outer(np.arange(512), np.arange(512)).astype(np.float64) / 1022 * 255
    pixels = np.stack([smooth, smooth.T, 255 - smooth], axis=2).astype(np.uint8)
    data = save(Image.fromarray(pixels), "JPEG", quality=95)

    batch = load_batch([data], size=32, channels=3)[0].transpose(1, 2, 0).astype(int)

    plain = np.asarray(Image.fromarray(decode(data)).resize((32, 32), Image.Resampling.BOX)).astype(int)
    assert np.abs(batch - plain).max() <= 3


def test_an_empty_batch_and_a_bad_one() -> None:
    assert load_batch([], size=4, channels=3).shape == (0, 3, 4, 4)
    with pytest.raises(Unreadable, match=r"^image 1: the file is empty$"):
        load_batch([png(GREY), b""], size=4, channels=1)
    with pytest.raises(ValueError, match="channels must be 1 or 3"):
        load_batch([], size=4, channels=2)


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, ml.images; sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'workbench')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert images.MAX_PIXELS == Image.MAX_IMAGE_PIXELS
