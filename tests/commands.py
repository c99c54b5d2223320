"""Calling the command line as users do: its answer, its remarks, its exit status."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from workbench import cli


@dataclass(frozen=True)
class Answer:
    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> Answer:
    """Run `workbench ARGUMENTS` in this process."""
    monkeypatch.setattr("sys.argv", ["workbench", *(str(each) for each in arguments)])
    capsys.readouterr()
    status = 0
    try:
        cli.main()
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    captured = capsys.readouterr()
    return Answer(status, captured.out, captured.err)
