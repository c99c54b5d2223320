"""The documents name what there is: commands and options, files, tests, links."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tests.test_json_contract import CONTRACT
from workbench.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
EVERYWHERE = {"--home", "--json"}  # said once, at the top
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def commands() -> Iterator[tuple[str, click.Command]]:
    """All that can be called, under its whole name."""
    for name, place in COMMANDS.items():
        module, attribute = place.split(":")
        yield from spell_out(name, getattr(importlib.import_module(module), attribute))


def spell_out(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for word, part in command.commands.items():
            yield from spell_out(f"{name} {word}", part)
    else:
        yield name, command


CALLABLE = dict(commands())


def paragraph_of(name: str) -> str:
    """What docs/cli.md says of a command: from its name to the next empty line."""
    found = re.search(rf"^`workbench {name}\b.*?(?=\n\n|\Z)", CLI, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/cli.md has no paragraph that begins with `workbench {name}"
    return found[0]


@pytest.mark.parametrize("name", CALLABLE)
def test_the_command_is_documented_with_all_its_options(name: str) -> None:
    paragraph = paragraph_of(name)
    params = [param for param in CALLABLE[name].params if isinstance(param, click.Option)]
    options = {word for param in params for word in (*param.opts, *param.secondary_opts)}
    assert {option for option in options - EVERYWHERE if option not in paragraph} == set()
    documented = set(re.findall(r"--[a-z][a-z-]*", paragraph.split("–")[0]))
    assert documented - options == set()


@pytest.mark.parametrize("name", CALLABLE)
def test_the_command_and_its_options_have_a_help_text(name: str) -> None:
    command = CALLABLE[name]
    assert command.help
    silent = [param.opts[-1] for param in command.params if isinstance(param, click.Option) and not param.help]
    assert silent == []


def keys_of(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            yield from [key] if isinstance(key, str) else []
            yield from keys_of(value)
    elif isinstance(schema, list):
        yield from keys_of(schema[0])


@pytest.mark.parametrize("name", CONTRACT)
def test_every_key_of_the_answer_is_documented(name: str) -> None:
    command = max((each for each in CALLABLE if name.startswith(each)), key=len)
    words = set(re.findall(r"\w+", paragraph_of(command)))
    keys = [re.sub("_(low|high)$", "", key) for key in keys_of(CONTRACT[name])]  # bounds go with what they bound
    assert [key for key in keys if key not in words] == []


def test_the_documented_commands_are_those_that_there_are() -> None:
    documented = set(re.findall(r"^`workbench ([a-z-]+)", CLI, re.MULTILINE))
    assert documented == set(COMMANDS)


def test_every_file_of_the_tree_is_there() -> None:
    tree = ARCHITECTURE.split("## The tree")[1].split("```")[1]
    assert list_missing(tree) == []


def list_missing(tree: str) -> list[str]:
    """Names that end in / or .py, sought in the folder that the line stands in and in the one that it begins with."""
    above: dict[int, Path] = {0: ROOT}
    missing = []
    for line in tree.strip("\n").splitlines():
        depth = len(line) - len(line.lstrip())
        parent = above[max(level for level in above if level <= depth)]
        names = re.findall(r"(?<![\w/.])[\w.]+(?:/|\.py)", line)
        first = parent / names[0]
        missing += [name for name in names if not (parent / name).exists() and not (first / name).exists()]
        if names[0].endswith("/"):
            above = {level: path for level, path in above.items() if level <= depth} | {depth + 2: first}
    return missing


def test_a_file_that_is_not_there_is_noticed() -> None:
    assert list_missing("workbench/\n  cli/   one; frame.py, gone.py\n  web/\n    also_gone.py\n  away/\n") == [
        "gone.py",
        "also_gone.py",
        "away/",
    ]


def test_every_test_that_holds_an_invariant_is_there() -> None:
    table = ARCHITECTURE.split("## Invariants")[1].split("\n## ")[0]
    named = re.findall(r"`((?:ml/)?test_\w+\.py)(?:::(\w+))?`", table)
    assert named
    for file, test in named:
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {test}" in text, f"{file}::{test}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_between_documents_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
