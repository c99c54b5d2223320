"""The file that describes a study: several trainings with what was published about them, or ranges to search.

TOML; docs/studies.md says every key. Plain values in, plain values out: the same reader takes what the database keeps.
"""

import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import Invalid, NotFound
from workbench.services.architectures import ABOVE_RUNS
from workbench.services.runs import PRESETS

FOLDER = Path(__file__).resolve().parent.parent / "studies"  # the saved configurations that come with the program
METHODS = ("grid", "hyperband")
GOALS = ("accuracy", "loss")  # on the validation split
MOST_RUNS = 500
# what --small changes where the file does not say; a search needs epochs to choose by
SMALL: dict[str, Any] = {"image_size": 16, "epochs": 1}
SMALL_SEARCH: dict[str, Any] = {"image_size": 16, "epochs": 3}
SMALL_RUNS = 6

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TOP = {"name", "title", "source", "notes", "defaults", "small", "runs", "search"}
_DEFAULTS = {"arch", "preset", "folds", "seed", "settings"}
_RUN = _DEFAULTS | {"name", "note", "from", "members", "small", "published"}
_SEARCH = _DEFAULTS | {"method", "goal", "runs", "least", "keep", "ranges", "small"}
_RANGE = {"low", "high", "log", "step"}


@dataclass(frozen=True)
class PlannedRun:
    """One training of a study, as it is asked for."""

    name: str
    arch: str = "compact"
    preset: str = "quick"
    folds: int = 0
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    start: str | None = None  # the run of this study whose weights it begins with
    members: tuple[str, ...] = ()  # the runs of this study that it averages
    published: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Range:
    """The values that a setting may take: those named, or all numbers from low to high."""

    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 1))

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values between which all others lie, or all of them."""
        return self.values or (self.low, self.high)

    @property
    def words(self) -> str:
        """As the command line and the form take it."""
        if self.values:
            return ", ".join(write_value(value) for value in self.values)
        ending = ":log" if self.log else f":{self.step:g}" if self.step else ""
        return f"{self.low:g}..{self.high:g}{ending}"


@dataclass(frozen=True)
class Search:
    """Trainings that differ in some settings, and how the values are chosen."""

    method: str
    ranges: Mapping[str, Range]
    like: PlannedRun  # what all of them share
    runs: int  # at most
    goal: str = "accuracy"
    least: int = 1  # epochs that every run gets before Hyperband may stop it
    keep: int = 3  # of so many runs Hyperband lets about one go on


@dataclass(frozen=True)
class Plan:
    """What a file asks for. runs: in the order of the file, or the grid laid out; empty under Hyperband."""

    name: str
    title: str
    source: str
    notes: str
    runs: tuple[PlannedRun, ...]
    search: Search | None = None

    @property
    def method(self) -> str:
        return self.search.method if self.search else "list"

    @property
    def most(self) -> int:
        """How many runs it may come to."""
        return len(self.runs) or (self.search.runs if self.search else 0)


def write_value(value: Any) -> str:
    """A setting's value in a few characters."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# --- finding and reading ----------------------------------------------------------------------------------------


def list_saved() -> list[str]:
    """The names of the saved configurations that come with the program."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def find_document(name_or_file: str | Path) -> dict[str, Any]:
    """The saved configuration of that name, else the file; not yet checked (`read_plan`)."""
    if str(name_or_file) in list_saved():
        return parse_document((FOLDER / f"{name_or_file}.toml").read_text(encoding="utf-8"))
    path = Path(name_or_file)
    if not path.is_file():
        raise NotFound(f"There is no study “{name_or_file}”: name a TOML file, or one of {', '.join(list_saved())}.")
    return parse_document(path.read_text(encoding="utf-8"), stem=path.stem)


def parse_document(text: str, *, stem: str = "") -> dict[str, Any]:
    """TOML as plain values. stem: the name of a file that does not say its own."""
    try:
        document = tomllib.loads(text)
        json.dumps(document)  # dates and the like are refused here, not when the database stores them
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise Invalid(f"The study's file is no TOML that can be read: {error}.", file=str(error)) from None
    return {"name": stem, **document} if stem else document


def read_plan(document: Mapping[str, Any], *, small: bool = False) -> Plan:
    """The plan of a study. small: with tiny images and one epoch, to see whether everything runs.

    Raises Invalid, in one sentence that names the place, for what is missing, unknown or of the wrong kind. Whether a
    setting exists and its value is in range is checked when the study starts.
    """
    _refuse_unknown(document, _TOP, "the study")
    name = _read(document, "name", str, "the study")
    if not _NAME.fullmatch(name):
        raise Invalid(f"The study's name “{name}” may hold small letters, digits, dots, dashes and underscores only.")
    if ("runs" in document) == ("search" in document):
        raise Invalid("A study has either [[runs]] or a [search].")
    shared = _read(document, "defaults", dict, "the study", {})
    _refuse_unknown(shared, _DEFAULTS, "[defaults]")
    least = SMALL_SEARCH if "search" in document else SMALL
    shrink = {**least, **_read(document, "small", dict, "the study", {})} if small else {}
    texts = {key: _read(document, key, str, "the study", "").strip() for key in ("title", "source", "notes")}
    if "search" in document:
        search = _read_search(_read(document, "search", dict, "the study"), shared, shrink)
        runs = lay_out(search) if search.method == "grid" else ()
        return Plan(name=name, runs=runs, search=search, **texts)
    return Plan(name=name, runs=_read_runs(document["runs"], shared, shrink), **texts)


def _read_runs(given: Any, shared: Mapping[str, Any], shrink: Mapping[str, Any]) -> tuple[PlannedRun, ...]:
    if not isinstance(given, list) or not given or not all(isinstance(each, dict) for each in given):
        raise Invalid("A study names its runs as [[runs]], one at least.")
    runs: list[PlannedRun] = []
    for number, each in enumerate(given, 1):
        known = {other.name: other.arch for other in runs}
        run = _read_run(each, shared, shrink, place=f"run {number}", known=known)
        if run.name in known:
            raise Invalid(f"Two runs of the study are called “{run.name}”.")
        for wanted in (*run.members, *([run.start] if run.start else [])):
            if wanted not in known:
                raise Invalid(f"Run “{run.name}” builds on “{wanted}”, which is no run that comes before it.")
        runs.append(run)
    return tuple(runs)


def _read_run(
    given: Mapping[str, Any],
    shared: Mapping[str, Any],
    shrink: Mapping[str, Any],
    *,
    place: str,
    known: Mapping[str, str],
) -> PlannedRun:
    _refuse_unknown(given, _RUN, place)
    name = _read(given, "name", str, place)
    place = f"run “{name}”"
    members = _read(given, "members", list, place, [])
    published = _read(given, "published", dict, place, {})
    _check_published(published, place)
    start = _read(given, "from", str, place, None)
    if start in known and "arch" not in {**shared, **given}:
        given = {**given, "arch": known[start]}  # whose weights it takes over
    return PlannedRun(
        name=name,
        note=_read(given, "note", str, place, ""),
        start=start,
        members=tuple(str(member) for member in members),
        published=published,
        **_read_shared(given, shared, shrink, place=place),
    )


def _read_shared(
    given: Mapping[str, Any], shared: Mapping[str, Any], shrink: Mapping[str, Any], *, place: str
) -> dict[str, Any]:
    """What a run says of itself, over what the defaults say, shrunk where that is asked for."""
    if given.get("arch") in ABOVE_RUNS:
        shared, shrink = {}, {}  # a head or an ensemble has hardly anything of what a training can be told
    said = {**shared, **given}
    settings = {**_read(shared, "settings", dict, "[defaults]", {}), **_read(given, "settings", dict, place, {})}
    smaller = {**shrink, **_read(given, "small", dict, place, {})} if shrink else {}
    preset = _read(said, "preset", str, place, "quick")
    if preset not in PRESETS:
        raise Invalid(f"There is no preset “{preset}” ({place}); use {', '.join(PRESETS)}.")
    return {
        "arch": _read(said, "arch", str, place, "compact"),
        "preset": preset,
        "folds": 0 if shrink else _read(said, "folds", int, place, 0),
        "seed": _read(said, "seed", int, place, 0),
        "settings": {**settings, **smaller},
    }


def _check_published(published: Mapping[str, Any], place: str) -> None:
    """Numbers under their names; per class a table of numbers."""
    for key, value in published.items():
        numbers = value.values() if isinstance(value, dict) else [value]
        if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
            raise Invalid(f"What was published of {place} is numbers; {key} is {value!r}.")
    accuracy = published.get("accuracy", 0.0)
    if isinstance(accuracy, dict) or not 0 <= accuracy <= 1:
        raise Invalid(f"The published accuracy of {place} is a share between 0 and 1, not {accuracy}.")


# --- searches ---------------------------------------------------------------------------------------------------


def _read_search(given: Mapping[str, Any], shared: Mapping[str, Any], shrink: Mapping[str, Any]) -> Search:
    place = "[search]"
    _refuse_unknown(given, _SEARCH, place)
    method = _read(given, "method", str, place, "hyperband")
    if method not in METHODS:
        raise Invalid(f"There is no search “{method}”; use {' or '.join(METHODS)}.", method="Not known.")
    goal = _read(given, "goal", str, place, "accuracy")
    if goal not in GOALS:
        raise Invalid(f"A search goes for the validation {' or '.join(GOALS)}, not “{goal}”.", goal="Not known.")
    ranges = {key: read_range(key, value) for key, value in _read(given, "ranges", dict, place).items()}
    if not ranges:
        raise Invalid("A search needs [search.ranges] with a setting at least.", ranges="Name a setting at least.")
    common = _read_shared(given, shared, shrink, place=place)
    common["settings"] = {key: value for key, value in common["settings"].items() if key not in ranges or shrink}
    search = Search(
        method=method,
        ranges={key: value for key, value in ranges.items() if key not in common["settings"]},
        like=PlannedRun(name="search", **common),
        runs=min(_read(given, "runs", int, place, 30), SMALL_RUNS if shrink else MOST_RUNS + 1),
        goal=goal,
        least=_read(given, "least", int, place, 1),
        keep=_read(given, "keep", int, place, 3),
    )
    _check_search(search)
    return search


def _check_search(search: Search) -> None:
    if not 1 <= search.runs <= MOST_RUNS:
        raise Invalid(f"A search makes 1 to {MOST_RUNS} runs, not {search.runs}.", runs=f"1 to {MOST_RUNS}.")
    if search.least < 1 or search.keep < 2:
        raise Invalid("In a search, least is 1 or more epochs, and keep 2 or more.")
    if not search.ranges:
        raise Invalid("Nothing is left to search: [small] settles every setting that has a range.")


def read_range(key: str, given: Any) -> Range:
    """A list of values, or a table with low and high, and log or step."""
    place = f"the range of {key}"
    if isinstance(given, list):
        if not given or not all(isinstance(value, bool | int | float | str) for value in given):
            raise Invalid(f"{place.capitalize()} is a list of numbers or words, one at least.", ranges=key)
        return Range(values=tuple(given))
    if not isinstance(given, dict):
        raise Invalid(f"{place.capitalize()} is a list of values, or low and high.", ranges=key)
    _refuse_unknown(given, _RANGE, place)
    low, high = _read(given, "low", float, place), _read(given, "high", float, place)
    log, step = _read(given, "log", bool, place, False), _read(given, "step", float, place, None)
    if not low < high or (log and low <= 0) or (log and step) or (step is not None and step <= 0):
        raise Invalid(
            f"{place.capitalize()} goes from low to a higher high; log needs numbers above 0, and goes without step.",
            ranges=key,
        )
    return Range(low=low, high=high, log=log, step=step)


def parse_ranges(lines: Iterable[str]) -> dict[str, Any]:
    """`KEY=1,2,3`, `KEY=LOW..HIGH`, `KEY=LOW..HIGH:log`, `KEY=LOW..HIGH:STEP` as a file writes them."""
    found: dict[str, Any] = {}
    for line in lines:
        key, equals, words = (part.strip() for part in line.partition("="))
        if not equals or not key or not words:
            raise Invalid(
                f"Write a range as learning_rate=0.001..0.1:log or batch_size=32,64, not “{line}”.", ranges=line
            )
        found[key] = _parse_span(words) if ".." in words else [_parse_word(word) for word in words.split(",")]
    return found


def _parse_span(words: str) -> dict[str, Any]:
    ends, _, ending = words.partition(":")
    low, _, high = (part.strip() for part in ends.partition(".."))
    span: dict[str, Any] = {"low": _parse_word(low), "high": _parse_word(high)}
    if ending.strip() == "log":
        return {**span, "log": True}
    return {**span, "step": _parse_word(ending)} if ending.strip() else span


def _parse_word(word: str) -> Any:
    word = word.strip()
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def lay_out(search: Search) -> tuple[PlannedRun, ...]:
    """Every combination of the values, the last range changing fastest."""
    keys = list(search.ranges)
    for key in keys:
        if not search.ranges[key].values and not search.ranges[key].step:
            raise Invalid(f"A grid needs the values of {key} one by one, or a step from low to high.", ranges=key)
    values = [_list_values(search.ranges[key]) for key in keys]
    count = math.prod(len(each) for each in values)
    if count > MOST_RUNS:
        raise Invalid(
            f"This grid has {count:,} points; {MOST_RUNS} are the most. Name fewer values.", ranges="Too many."
        )
    return tuple(
        vary(search.like, dict(zip(keys, point, strict=True)), name=str(number))
        for number, point in enumerate(itertools.product(*values), 1)
    )


def _list_values(span: Range) -> list[Any]:
    if span.values:
        return list(span.values)
    step = span.step or 1.0
    numbers = [span.low + index * step for index in range(math.floor((span.high - span.low) / step + 1e-9) + 1)]
    return [round(number) if span.is_whole else round(number, 12) for number in numbers]


def vary(like: PlannedRun, chosen: Mapping[str, Any], *, name: str) -> PlannedRun:
    """The run with some of its settings chosen; arch, preset, folds and seed may be chosen too."""
    own = {key: value for key, value in chosen.items() if key in ("arch", "preset", "folds", "seed")}
    rest = {key: value for key, value in chosen.items() if key not in own}
    shared = {"arch": like.arch, "preset": like.preset, "folds": like.folds, "seed": like.seed, **own}
    return PlannedRun(name=name, settings={**like.settings, **rest}, **shared)


# --- reading values ---------------------------------------------------------------------------------------------

_KINDS: dict[type, str] = {str: "words", int: "a whole number", float: "a number", bool: "true or false"}
_NEEDED: Any = object()


def _read(table: Mapping[str, Any], key: str, kind: type, place: str, default: Any = _NEEDED) -> Any:
    if key not in table:
        if default is _NEEDED:
            raise Invalid(f"{place[:1].upper()}{place[1:]} needs a {key}.")
        return default
    value = table[key]
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        wanted = _KINDS.get(kind, "a table" if kind is dict else "a list")
        raise Invalid(f"{key} of {place} is {wanted}, not {value!r}.")
    return value


def _refuse_unknown(table: Mapping[str, Any], known: set[str], place: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise Invalid(f"{place[:1].upper()}{place[1:]} knows no “{unknown[0]}”; it knows {', '.join(sorted(known))}.")
