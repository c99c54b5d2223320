"""Images as bytes in, facts and arrays out: what a file is, its canonical pixels, batches for training.

Canonical pixels make one picture of all its files: rotation by EXIF is carried out, palettes are looked up, CMYK
becomes RGB, an alpha channel that hides nothing is dropped, and RGB whose channels are equal is grey. What cannot be
read for certain is refused with a reason. Needs Pillow and NumPy only, no torch.
"""

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

MAX_PIXELS = 89_478_485  # Pillow's own limit; about 256 MiB as RGB
MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # a JPEG with a second view behind it, as phones write; the first view is the picture
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "DIB": "image/bmp",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "PPM": "image/x-portable-anymap",
}
_FORMATS = tuple(name for name in MEDIA_TYPES if name != "MPO")  # opened as a JPEG
_MANY = {"GIF": "frames", "PNG": "frames", "WEBP": "frames", "TIFF": "pages"}
_ORIENTATION = 0x0112
# what Pillow's readers raise over broken files, found by feeding them damaged ones
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, AttributeError,
    NotImplementedError, RuntimeError, ZeroDivisionError, MemoryError, struct.error, zlib.error,
)  # fmt: skip


class Unreadable(Exception):
    """The bytes are no picture that can be taken in; the message is the reason, without the file's name."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What `inspect` finds. Width, height and mode are those of the canonical pixels: L, RGB, RGBA or I;16."""

    width: int
    height: int
    mode: str
    media_type: str
    file_sha256: str
    pixel_sha256: str
    size_bytes: int


def inspect(data: bytes, *, name: str = "") -> ImageFacts:
    """Decode one image file in memory and say what it is.

    data: the file's bytes. name: its name, only used to say more about a file that is no image; the type is found
    from the content, so a PNG called .jpg is a PNG. Returns ImageFacts; `pixel_sha256` is the SHA-256 over mode,
    width, height and the canonical values, so it is the same for every lossless file of one picture (16-bit grey is
    hashed with its 16-bit values). Deterministic for one version of the JPEG and WebP decoders. Costs about 50
    microseconds for a 48x48 PNG, of which 40 are Pillow's. Raises Unreadable with the reason: empty, no image,
    damaged or cut short, more than MAX_PIXELS, animated or several pages, a pixel type without a picture's meaning.
    """
    with _opened(data, name=name) as image:
        media_type = MEDIA_TYPES[image.format or ""]
        mode, width, height, values = _canonical_bytes(image)
    digest = hashlib.sha256(f"{mode} {width} {height}\n".encode())
    digest.update(values)
    return ImageFacts(
        width=width,
        height=height,
        mode=mode,
        media_type=media_type,
        file_sha256=hashlib.sha256(data).hexdigest(),
        pixel_sha256=digest.hexdigest(),
        size_bytes=len(data),
    )


def decode(data: bytes) -> NDArray[np.uint8]:
    """The canonical pixels of one image file.

    Returns uint8 (H, W) for grey, (H, W, 3) for RGB, (H, W, 4) for RGBA with straight alpha. 16-bit grey is scaled
    from its whole range 0..65535 to 0..255 (not stretched per image, so two images stay comparable).
    Deterministic. Raises Unreadable.
    """
    with _opened(data) as image:
        canonical = _canonical(image)
        return np.asarray(_to_eight_bits(canonical)).copy()


def load_batch(sources: Iterable[bytes], *, size: int, channels: int) -> NDArray[np.uint8]:
    """Decode image files to one array for training or for features.

    sources: the bytes of N files. size: height and width of the result in pixels; the picture is resized plainly,
    without keeping its aspect: by area (box) where both sides shrink, else bicubic. channels: 1 (grey, ITU-R 601
    weights) or 3 (RGB, grey repeated). Transparent pixels are laid over white. Returns uint8 (N, channels, size,
    size), N = 0 allowed. Deterministic. About 50 microseconds for a 48x48 PNG at its own size. Large JPEGs are decoded
    at 1/2, 1/4 or 1/8 where that still leaves at least twice `size`. Raises Unreadable naming the position of the
    first bad file, ValueError if channels is neither 1 nor 3 or size is not positive.
    """
    if channels not in (1, 3) or size < 1:
        raise ValueError(f"channels must be 1 or 3 and size positive, not {channels} and {size}")
    remaining = enumerate(sources)
    blocks = []
    while rows := [_load_one(data, index, size, channels) for index, data in islice(remaining, 1024)]:
        blocks.append(np.stack(rows))  # (n, size, size[, 3])
    if not blocks:
        return np.zeros((0, channels, size, size), dtype=np.uint8)
    images = np.concatenate(blocks)  # (N, size, size[, 3])
    images = images[:, None] if channels == 1 else images.transpose(0, 3, 1, 2)  # (N, C, size, size)
    return np.ascontiguousarray(images)


def _load_one(data: bytes, index: int, size: int, channels: int) -> NDArray[np.uint8]:
    try:
        with _opened(data, shrink_to=2 * size) as image:
            canonical = _to_eight_bits(_canonical(image))
    except Unreadable as error:
        raise Unreadable(f"image {index}: {error}") from error
    if canonical.mode == "RGBA":
        white = Image.new("RGBA", canonical.size, (255, 255, 255, 255))
        canonical = Image.alpha_composite(white, canonical).convert("RGB")
    mode = "L" if channels == 1 else "RGB"
    if canonical.mode != mode:
        canonical = canonical.convert(mode)
    if canonical.size != (size, size):
        shrinks = canonical.width >= size and canonical.height >= size
        filter_ = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
        canonical = canonical.resize((size, size), filter_)
    return np.asarray(canonical)


@contextmanager
def _opened(data: bytes, *, name: str = "", shrink_to: int | None = None) -> Iterator[Image.Image]:
    """The checked and decoded image; whatever Pillow raises inside becomes Unreadable."""
    if not data:
        raise Unreadable("the file is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd EXIF and the like; what matters is refused here with a reason
        try:
            with _identify(data, name) as image:
                _check_header(image)
                if shrink_to:
                    image.draft(None, (shrink_to, shrink_to))
                image.load()
                yield image
        except _BROKEN as error:
            raise Unreadable(f"the picture is damaged or cut short ({_first_line(error)})") from error


def _identify(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise Unreadable(f"more than {MAX_PIXELS:,} pixels") from error
    except _BROKEN as error:
        raise Unreadable(_not_an_image(data, name)) from error


def _not_an_image(data: bytes, name: str) -> str:
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<svg", b"<?xml", b"<!doctype", b"<html")):
        return "not a supported image: a document of markup (SVG or HTML)"
    if head.startswith((b"\x89png", b"\xff\xd8\xff", b"gif8", b"bm", b"ii*", b"mm\0*")) or data[8:12] == b"WEBP":
        return "the picture is damaged or cut short (its header cannot be read)"
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    return f"not an image (.{suffix} file)" if suffix else "not an image"


def _check_header(image: Image.Image) -> None:
    """Everything that can be refused before a pixel is decoded."""
    width, height = image.size
    if width < 1 or height < 1:
        raise Unreadable("the picture has no pixels")
    if width * height > MAX_PIXELS:
        raise Unreadable(f"{width:,} x {height:,} pixels are more than {MAX_PIXELS:,}")
    what = _MANY.get(image.format or "")
    frames = getattr(image, "n_frames", 1) if what else 1
    if frames > 1:
        raise Unreadable(f"{frames} {what}; only single pictures are taken in")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


def _canonical_bytes(image: Image.Image) -> tuple[str, int, int, bytes]:
    canonical = _canonical(image)
    # 16-bit values in the same byte order on every machine
    values = np.asarray(canonical).astype("<u2").tobytes() if canonical.mode == "I;16" else canonical.tobytes()
    return canonical.mode, canonical.width, canonical.height, values


def _canonical(image: Image.Image) -> Image.Image:
    """The picture itself, in mode L, RGB, RGBA or I;16."""
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "L" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _to_sixteen_bits(image)
    if image.mode in ("F", "LAB", "HSV"):
        raise Unreadable(f"pixels of type {image.mode} have no agreed look as a picture")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGB")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    return _grey_if_equal(image)


def _grey_if_equal(image: Image.Image) -> Image.Image:
    if image.mode != "RGB":
        return image
    pixels = np.asarray(image)  # (H, W, 3)
    middle = pixels.shape[0] // 2
    if not _has_equal_channels(pixels[middle : middle + 1]):  # one row tells nearly every colour picture apart
        return image
    return image.getchannel(0) if _has_equal_channels(pixels) else image


def _has_equal_channels(pixels: NDArray[np.uint8]) -> bool:
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all())


def _to_sixteen_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)  # (H, W)
    if values.min() < 0 or values.max() > 65535:
        raise Unreadable("pixel values outside 0 to 65,535 have no agreed look as a picture")
    return Image.fromarray(values.astype(np.uint16))


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode != "I;16":
        return image
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
