"""The filter form of the images grid: its fields read into an ImageFilter, and each active filter in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import MultiDict

from workbench.models import FINDINGS, SPLITS, STATUSES, Class
from workbench.queries.image_lists import NONE, SORTS, ImageFilter
from workbench.services import image_filters
from workbench.services.image_filters import AGREEMENTS, SOURCES

FIELDS = (
    "class", "split", "status", "source", "agreement", "predicted",
    "confidence_from", "confidence_to", "p_from", "p_to", "text", "attribute", "mark",
    "finding",
)  # fmt: skip
_PARAMS = {"class": "label", "text": "path", "p_from": "p_wrong_from", "p_to": "p_wrong_to"}  # field -> as it is stored


@dataclass(frozen=True)
class FilterForm:
    """What was typed, what it means, and what is wrong with it."""

    typed: dict[str, str]
    found: ImageFilter
    problems: dict[str, str]
    sort: str


@dataclass(frozen=True)
class ActiveFilter:
    words: str
    without: dict[str, str]  # the fields of the form without this filter


def parse_filter(args: MultiDict[str, str], classes: Sequence[Class], *, marks: Sequence[str]) -> FilterForm:
    """A field that makes no sense is left out of the filter and named in `problems`. marks: what may be asked for."""
    typed = {field: args.get(field, "").strip() for field in FIELDS}
    problems: dict[str, str] = {}
    class_ids = {str(cls.id): cls.id for cls in classes}
    number = {field: _parse_share(typed, field, problems) for field in FIELDS if field.endswith(("_from", "_to"))}
    found = ImageFilter(
        class_id=_choose(typed, "class", class_ids | {"none": NONE}, problems),
        split=_choose(typed, "split", {name: name for name in (*SPLITS, "none")}, problems),
        status=_choose(typed, "status", {name: name for name in STATUSES}, problems),
        source=_choose(typed, "source", {name: name for name in SOURCES}, problems),
        agreement=_choose(typed, "agreement", {name: name for name in AGREEMENTS}, problems),
        predicted_id=_choose(typed, "predicted", class_ids, problems),
        confidence_from=number["confidence_from"],
        confidence_to=number["confidence_to"],
        p_wrong_from=number["p_from"],
        p_wrong_to=number["p_to"],
        text=typed["text"] or None,
        attribute=_parse_attribute(typed, problems),
        mark=_choose(typed, "mark", {name: name for name in marks}, problems),
        finding=_choose(typed, "finding", {name: name for name in FINDINGS}, problems),
    )
    sort = args.get("sort", "id")
    return FilterForm(typed, found, problems, sort if sort in SORTS else "id")


def _choose(typed: Mapping[str, str], field: str, choices: Mapping[str, Any], problems: dict[str, str]) -> Any:
    if not typed[field]:
        return None
    if typed[field] not in choices:
        problems[field] = "Not one of the choices."
        return None
    return choices[typed[field]]


def _parse_share(typed: Mapping[str, str], field: str, problems: dict[str, str]) -> float | None:
    words = typed[field].replace(",", ".")
    if not words:
        return None
    try:
        share = float(words)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        problems[field] = "A number from 0 to 1."
        return None
    return share


def _parse_attribute(typed: Mapping[str, str], problems: dict[str, str]) -> tuple[str, str] | None:
    name, equals, value = typed["attribute"].partition("=")
    if not typed["attribute"]:
        return None
    if not equals or not name.strip():
        problems["attribute"] = "Like race=asian."
        return None
    return name.strip(), value.strip()


def params_of(form: FilterForm, classes: Sequence[Class]) -> dict[str, Any]:
    """The filter and the order as they are stored, for a queue of what the list shows."""
    return image_filters.write(form.found, {cls.id: cls.name for cls in classes}, sort=form.sort)


def follows_flags(form: FilterForm, classes: Sequence[Class]) -> bool:
    """Whether a model's opinion chooses or orders what the list shows."""
    return image_filters.follows_flags(params_of(form, classes))


def fields_of(form: FilterForm) -> dict[str, str]:
    """The fields that a link must carry to show the same list."""
    kept = {field: words for field, words in form.typed.items() if words and field not in form.problems}
    return kept | ({"sort": form.sort} if form.sort != "id" else {})


def list_active(form: FilterForm, classes: Sequence[Class]) -> list[ActiveFilter]:
    """The filters in force, in words, each with the form as it is without it."""
    kept = fields_of(form)
    words = dict(image_filters.describe(params_of(form, classes)))
    return [
        ActiveFilter(words[_PARAMS.get(field, field)], {key: typed for key, typed in kept.items() if key != field})
        for field in FIELDS
        if field in kept
    ]


def read_force(form: Mapping[str, str]) -> str:
    """Why somebody decides on a frozen split all the same: the reason counts with its box ticked."""
    return form.get("forced", "").strip() if form.get("force") else ""
