"""How numbers, times and shares are written on pages: filters and small functions for the templates."""

import functools
import math
from datetime import datetime
from typing import Any
from urllib.parse import quote

from flask import Flask, request
from markupsafe import Markup, escape

from workbench.models import Class, Dataset, utc_now
from workbench.services import keys

_PLAIN = "!$&'()*+,/:;=@"  # what an address may hold as it is


def install(app: Flask) -> None:
    app.jinja_env.filters.update(
        percent=percent, count=count, ago=ago, duration=duration, moment=moment, decimal=decimal, chance=chance
    )
    app.jinja_env.globals.update(class_chip=class_chip, thumb=thumb, pressed=pressed, sign=sign)
    app.jinja_env.globals.update(class_button=class_button, class_box=class_box)
    app.jinja_env.globals.update(
        interval=interval, plural=plural, now=utc_now, thumb_url=thumb_url, image_url=image_url
    )


def thumb_url(image: Any, size: int) -> str:
    """Where a thumbnail is; dozens a card, and `url_for` costs ten times as much."""
    pixels = getattr(image, "pixel_sha256", "")  # in the address, so that a browser may keep it for good
    return f"{request.script_root}/images/{image.id}/thumbnail/{size}{'?v=' + pixels[:12] if pixels else ''}"


def image_url(dataset: Dataset, image_id: int) -> str:
    """The page of an image."""
    return f"{request.script_root}/d/{quote(dataset.name, safe=_PLAIN)}/images/{image_id}"


# Small marks of which a page shows dozens: a function costs a third of a macro, and most are the same on every card.


def class_chip(cls: Class | None, key: bool = False) -> Markup:
    """A class with its colour, and its key so that colour is never the only signal."""
    if cls is None:
        return Markup('<span class="chip none">no label</span>')
    shown = f"<kbd>{escape(cls.key)}</kbd> " if key and cls.key else ""
    swatch = '<i class="swatch" aria-hidden="true"></i>'
    return Markup(f'<span class="chip class-{cls.id}">{swatch}{shown}{escape(cls.name)}</span>')  # noqa: S704 - escaped


def thumb(image: Any, size: int = 96, alt: str = "", lazy: bool = True) -> Markup:
    """An image in a box of 48, 96, 192 or 384 CSS pixels; crisp when the picture is small."""
    looks = f"thumb s{size}{' crisp' if image.width < 160 else ''}"
    late = ' loading="lazy"' if lazy else ""
    return Markup(  # noqa: S704 - escaped
        f'<img class="{looks}" src="{escape(thumb_url(image, size))}" width="{size}" height="{size}" '
        f'alt="{escape(alt or image.path)}"{late} decoding="async">'
    )


@functools.lru_cache(maxsize=1024)
def pressed(key: str) -> Markup:
    """What makes a key press a button, if it has one."""
    return Markup(f'data-key="{escape(key)}"') if key else Markup()  # noqa: S704 - escaped


@functools.lru_cache(maxsize=1024)
def sign(key: str) -> Markup:
    """The key on its button."""
    return Markup(f"<kbd>{escape(keys.sign(key))}</kbd>") if key else Markup()  # noqa: S704 - escaped


@functools.lru_cache(maxsize=4096)
def class_button(class_id: int, name: str, key: str, looks: str = "") -> Markup:
    """The button of a class on the card. looks: given, suggested."""
    words = escape(name)
    return Markup(  # noqa: S704 - escaped
        f'<button id="class_{class_id}" class="pick class-{class_id}{looks}" name="class_id" value="{class_id}" '
        f'{pressed(key)} data-does="It is {words}" title="{words}">{sign(key)}'
        f'<span class="name">{words}</span></button>'
    )


@functools.lru_cache(maxsize=4096)
def class_box(class_id: int, name: str, key: str, is_checked: bool) -> Markup:
    """The box of a class on the card, where several are ticked."""
    words = escape(name)
    return Markup(  # noqa: S704 - escaped
        f'<label class="pick class-{class_id}" {pressed(key)} data-does="It may be {words}"><input type="checkbox" '
        f'name="class_ids" value="{class_id}"{" checked" if is_checked else ""}>{sign(key)}'
        f'<span class="name">{words}</span></label>'
    )


def percent(value: float | None, digits: int = 1) -> str:
    """0.6143 -> “61.4 %”; a dash where there is nothing."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def decimal(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def chance(value: float) -> str:
    """0.9968 -> “0.996”: never rounded up to what is certain; two digits suffice below."""
    digits = 3 if 0.99 <= value < 1 else 2
    return f"{math.floor(value * 10**digits + 1e-9) / 10**digits:.{digits}f}"


def count(value: int | None) -> str:
    """32137 -> “32,137”."""
    return "–" if value is None else f"{value:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """(1, "image") -> “1 image”, (2, "image") -> “2 images”."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def interval(metrics: dict[str, Any], name: str = "accuracy") -> str:
    """“61.4 % [59.8, 63.0] · n 3,579”."""
    low, high = metrics.get("low"), metrics.get("high")
    if low is None or high is None:
        return percent(metrics[name])
    return f"{100 * metrics[name]:.1f} % [{100 * low:.1f}, {100 * high:.1f}] · n {metrics['n']:,}"


def duration(seconds: float | None) -> str:
    """75 -> “1 min 15 s”."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def ago(then: datetime | None) -> str:
    if then is None:
        return "–"
    seconds = (utc_now() - then).total_seconds()
    if seconds < 45:
        return "just now"
    for size, one in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size or one == "minute":
            return f"{plural(max(1, round(seconds / size)), one)} ago"
    return "just now"


def moment(then: datetime | None) -> str:
    return "–" if then is None else then.strftime("%Y-%m-%d %H:%M UTC")
