"""The list of architectures, on its page and at the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import call
from tests.conftest import Browser
from tests.installed import installed_nets
from workbench.services.architectures import ABOVE_RUNS, ARCHITECTURES

BrowserAs = Callable[[str], Browser]


def test_everything_is_listed_with_source_size_and_count(browser_as: BrowserAs) -> None:
    text = browser_as("viewer").get("/architectures").text
    for each in (*ARCHITECTURES.values(), *ABOVE_RUNS.values()):
        assert f"<code>{each.name}</code>" in text
    for words in ("Of the reference projects", "wafiakmal/awesome-ml-group, “VGG16”", "63,855,575", "63,863,463",
                  "128 px", "On runs that are done", "Simonyan and Zisserman 2014"):  # fmt: skip
        assert words in text
    assert "Of other installed packages" not in text


def test_what_other_packages_bring_is_listed(browser_as: BrowserAs, tmp_path: Path) -> None:
    with installed_nets(tmp_path, {"lab_tiny": "lab_nets:make_tiny"}):
        text = browser_as("viewer").get("/architectures").text
    assert "Of other installed packages" in text
    assert "<code>lab_tiny</code>" in text
    assert "lab-nets 1.2" in text


def test_the_command_line_lists_them_by_family(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = call(capsys, monkeypatch, "architectures", "densenet")
    assert answer.out.splitlines()[:2] == [
        "Of torchvision",
        "  densenet121                 224 px    6,961,031  Huang et al. 2016, Densely Connected Convolutional Networks",  # noqa: E501
    ]
    found = call(capsys, monkeypatch, "architectures", "--json").document["architectures"]
    assert [each["name"] for each in found][:2] == ["compact", "three_conv"]
    assert len(found) == len(ARCHITECTURES) + len(ABOVE_RUNS)
    nothing = call(capsys, monkeypatch, "architectures", "perceptron")
    assert nothing.out == "No architecture has “perceptron” in its name or source.\n"
