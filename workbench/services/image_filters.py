"""A filter of images as it is stored and written: names instead of ids, so that people and commands can read it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from workbench.errors import Invalid
from workbench.models import FINDINGS, SPLITS, STATUSES
from workbench.queries.image_lists import MARKS, NONE, SORTS, ImageFilter

SOURCES = {"imported": "as imported", "decision": "decided here", "consensus": "consensus"}
AGREEMENTS = {"agree": "prediction agrees", "disagree": "prediction disagrees"}
MODEL_SORTS = ("p_wrong", "confidence")
# what a model says about the images, and the orders that follow it
FLAGS = ("predicted", "agreement", "confidence_from", "confidence_to", "p_wrong_from", "p_wrong_to")
_NO_LABEL = ("none", "no label")  # the second where a class is called like the first


def follows_flags(params: Mapping[str, Any]) -> bool:
    """Whether a model's opinion chooses or orders the images."""
    by_model = params.get("finding") == "outlier"
    return by_model or any(params.get(name) is not None for name in FLAGS) or params.get("sort") in MODEL_SORTS


def _one_of(what: str, choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise Invalid(f"“{value}” is not {what}; use {', '.join(choices)}.")
        return str(value)

    return read


def _read_share(value: Any) -> float:
    try:
        share = float(str(value).replace(",", "."))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise Invalid(f"“{value}” is not a share; give a number from 0 to 1.")
    return share


def _read_attribute(value: Any) -> str:
    name, equals, _ = str(value).partition("=")
    if not equals or not name.strip():
        raise Invalid(f"“{value}” is not an attribute; write it like race=asian.")
    return str(value)


PARAMS: dict[str, Callable[[Any], Any]] = {
    "label": str,
    "predicted": str,
    "agreement": _one_of("an agreement", tuple(AGREEMENTS)),
    "split": _one_of("a split", (*SPLITS, "none")),
    "status": _one_of("a status", STATUSES),
    "source": _one_of("a source", tuple(SOURCES)),
    "confidence_from": _read_share,
    "confidence_to": _read_share,
    "p_wrong_from": _read_share,
    "p_wrong_to": _read_share,
    "path": str,
    "attribute": _read_attribute,
    "mark": _one_of("a mark", MARKS),
    "finding": _one_of("a kind of finding", tuple(FINDINGS)),
    "sort": _one_of("an order", tuple(SORTS)),
}


def read(params: Mapping[str, Any], class_names: Mapping[int, str]) -> ImageFilter:
    """The filter that is meant. class_names: by id, merged and retired classes too."""
    ids = dict.fromkeys(_NO_LABEL, NONE) | {name: class_id for class_id, name in class_names.items()}
    for field in ("label", "predicted"):
        if params.get(field) is not None and params[field] not in ids:
            raise Invalid(f"“{params[field]}” is not a class; use {', '.join(class_names.values())}.")
    attribute = params.get("attribute")
    name, _, value = attribute.partition("=") if attribute else ("", "", "")
    return ImageFilter(
        class_id=ids[params["label"]] if params.get("label") is not None else None,
        predicted_id=ids[params["predicted"]] if params.get("predicted") is not None else None,
        split=params.get("split"),
        status=params.get("status"),
        source=params.get("source"),
        agreement=params.get("agreement"),
        confidence_from=params.get("confidence_from"),
        confidence_to=params.get("confidence_to"),
        p_wrong_from=params.get("p_wrong_from"),
        p_wrong_to=params.get("p_wrong_to"),
        text=params.get("path"),
        attribute=(name.strip(), value.strip()) if attribute else None,
        mark=params.get("mark"),
        finding=params.get("finding"),
    )


def write(found: ImageFilter, class_names: Mapping[int, str], *, sort: str = "id") -> dict[str, Any]:
    """The params that `read` makes the same filter of."""
    names = {NONE: _NO_LABEL[_NO_LABEL[0] in class_names.values()], **class_names}
    params: dict[str, Any] = {
        "label": names[found.class_id] if found.class_id is not None else None,
        "predicted": names[found.predicted_id] if found.predicted_id is not None else None,
        "agreement": found.agreement,
        "split": found.split,
        "status": found.status,
        "source": found.source,
        "confidence_from": found.confidence_from,
        "confidence_to": found.confidence_to,
        "p_wrong_from": found.p_wrong_from,
        "p_wrong_to": found.p_wrong_to,
        "path": found.text,
        "attribute": "=".join(found.attribute) if found.attribute else None,
        "mark": found.mark,
        "finding": found.finding,
        "sort": None if sort == "id" else sort,
    }
    return {name: value for name, value in params.items() if value is not None}


def describe(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(param, what it says in words), in a fixed order; the order of the list is left out."""
    for name in PARAMS:
        if params.get(name) is not None and name != "sort":
            yield name, _words(name, params[name])


def _words(name: str, value: Any) -> str:
    match name:
        case "label":
            return "no label" if value in _NO_LABEL else f"labelled {value}"
        case "predicted":
            return f"predicted {value}"
        case "split":
            return "in no split" if value == "none" else f"in {value}"
        case "source":
            return SOURCES[value]
        case "agreement":
            return AGREEMENTS[value]
        case "finding":
            return FINDINGS[value]
        case "path":
            return f"path has “{value}”"
        case "confidence_from" | "confidence_to":
            return f"confidence {'≥' if name.endswith('from') else '≤'} {value:g}"
        case "p_wrong_from" | "p_wrong_to":
            return f"P(wrong) {'≥' if name.endswith('from') else '≤'} {value:g}"
        case _:  # status, attribute, mark
            return str(value).replace("=", " = ")
