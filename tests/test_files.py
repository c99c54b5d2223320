"""Files that are there whole or not at all."""

from pathlib import Path

import numpy as np
import pytest

from workbench.files import read_json, write_arrays, write_json, written_whole


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"name": "Ärger", "n": [1, 2]})
    assert read_json(tmp_path / "new" / "a.json") == {"name": "Ärger", "n": [1, 2]}
    write_arrays(tmp_path / "b.npz", ids=np.arange(3), p=np.float16([0.5]))
    with np.load(tmp_path / "b.npz") as stored:
        assert {name: stored[name].tolist() for name in stored} == {"ids": [0, 1, 2], "p": [0.5]}


@pytest.mark.parametrize("contents", [None, "", "{", "\xff"])
def test_a_file_that_is_missing_or_damaged_is_none(tmp_path: Path, contents: str | None) -> None:
    path = tmp_path / "a.json"
    if contents is not None:
        path.write_bytes(contents.encode("latin-1"))
    assert read_json(path) is None


def test_while_it_is_written_and_when_that_fails_the_old_one_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, "old")

    def write_half() -> None:
        with written_whole(path) as file:
            file.write(b'"ne')
            assert read_json(path) == "old"
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_half()
    assert (read_json(path), [found.name for found in tmp_path.iterdir()]) == ("old", ["a.json"])


def test_numbers_that_json_does_not_have_are_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))
    assert read_json(path) == 1
