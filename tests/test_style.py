"""Rules of the house that no linter knows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*ROOT.glob("workbench/**/*.py"), *ROOT.glob("ml/**/*.py")])
BANNED = {"utils", "helpers", "common", "misc", "base", "manager", "processor"}
LONGEST_FUNCTION = 60


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 50


def test_no_module_is_called_by_a_name_that_says_nothing() -> None:
    assert [path.name for path in SOURCES if path.stem in BANNED] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_asserts_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "no module docstring"
    asserts = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert asserts == [], "assert vanishes under -O; raise instead"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_short(path: Path) -> None:
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    too_long = {
        node.name: length
        for node in functions
        if (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    }
    assert too_long == {}


def test_pages_hold_no_inline_script_style_or_handler() -> None:
    """The content security policy would drop them silently."""
    signs = (" style=", " onclick=", " onchange=", " onsubmit=", "hx-on", "js:", "<style")
    found = []
    for path in sorted(ROOT.glob("templates/**/*.html")):
        text = path.read_text()
        found += [(path.name, sign) for sign in signs if sign in text]
        if text.count("<script") != text.count("<script src="):
            found.append((path.name, "<script"))
    assert found == []


def test_nothing_is_fetched_from_other_hosts() -> None:
    files = [*ROOT.glob("templates/**/*.html"), *ROOT.glob("static/js/*.js"), *ROOT.glob("static/css/*.css")]
    outside = {
        path.name: line.strip()
        for path in files
        for line in path.read_text().splitlines()
        if ("http://" in line or "https://" in line) and "www.w3.org" not in line
    }
    assert outside == {}
