"""Augmentation families: an augmentation knows its parent by an attribute, or by a pattern in its file name."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from workbench.errors import Invalid

LONGEST_PATTERN = 200
SECONDS = 10.0  # for the first 100,000 names, and as much for every further 100,000
# `re` cannot be interrupted, and a pattern can take for ever on a name of thirty letters: it runs in a process that can
_MATCHER = """
import json, re, sys
pattern, names = json.load(sys.stdin)
compiled = re.compile(pattern)
print(json.dumps([found[1] if (found := compiled.search(name)) else None for name in names]))
"""

Edges = list[tuple[int, int]]


def check_pattern(pattern: str) -> None:
    """Raises Invalid, in one sentence, for what cannot name a family."""
    if len(pattern) > LONGEST_PATTERN:
        _refuse(f"The pattern has more than {LONGEST_PATTERN} characters; a shorter one names the family as well.")
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        _refuse(f"“{pattern}” is not a regular expression ({error}).")
    if groups != 1:
        _refuse(rf"The pattern needs one group in brackets that names the family, as in (.+?)_aug\d+; it has {groups}.")


def _refuse(sentence: str) -> None:
    raise Invalid(sentence, family_pattern=sentence)


def name_families(pattern: str, names: Sequence[str], *, seconds: float = SECONDS) -> list[str | None]:
    """What the pattern's group says of each name, none where the pattern is not found in it."""
    check_pattern(pattern)
    limit = seconds * (1 + len(names) // 100_000)
    try:
        done = subprocess.run(  # noqa: S603 - this Python, with a program of ours
            [sys.executable, "-I", "-c", _MATCHER],
            input=json.dumps([pattern, list(names)]),
            capture_output=True,
            text=True,
            timeout=limit,
            check=True,
        )
    except subprocess.TimeoutExpired:
        sentence = f"“{pattern}” takes too long on these file names; write it without a repeat inside a repeat."
        raise Invalid(sentence, family_pattern=sentence) from None
    found: list[str | None] = json.loads(done.stdout)
    return found


def join_by_pattern(pattern: str, paths: Sequence[str], groups: Sequence[object]) -> Edges:
    """Rows that belong to one family by their file names, as pairs.

    The pattern is sought in the name without folder and ending. A family is what its group says, among images with
    equal `groups` (their class as imported: numbers begin anew in many folders); the image that is called just that is
    its parent.
    """
    stems = [PurePosixPath(path).stem for path in paths]
    said = name_families(pattern, stems)
    families = {(group, name) for group, name in zip(groups, said, strict=True) if name is not None}
    first: dict[tuple[object, str], int] = {}
    edges = []
    for row, (group, name, stem) in enumerate(zip(groups, said, stems, strict=True)):
        family = (group, stem if name is None else name)
        if family in families:
            edges.append((first.setdefault(family, row), row))
    return edges


def join_by_attribute(values: Mapping[int, str], paths: Sequence[str]) -> Edges:
    """Rows that name the same parent, joined with the parent where there is one, as pairs. values: row -> its parent.

    The parent is the image of that path, or else the only one whose file is called so, with or without its ending.
    """
    whole = {path: row for row, path in enumerate(paths)}
    named: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        for name in {PurePosixPath(path).name, PurePosixPath(path).stem}:
            named[name].append(row)
    first: dict[str, int] = {}
    edges = []
    for row, value in sorted(values.items()):
        if value not in first:
            alone = named.get(value, [])
            first[value] = whole.get(value, alone[0] if len(alone) == 1 else row)
        edges.append((first[value], row))
    return edges
