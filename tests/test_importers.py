"""What each format's source yields: entries in order, with label, split and what is wrong, before a picture is read."""

import io
import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.drawing import draw, write_files
from workbench.errors import Invalid
from workbench.services.importers import open_source, trees
from workbench.services.importers.attributes import open_attributes
from workbench.services.importers.entries import Entry, parse_split
from workbench.services.importers.path_index import PathIndex, list_shared_names
from workbench.services.importers.trees import Refused
from workbench.services.importers.votes import VoteFile, match_options
from workbench.services.imports import preview


def list_entries(path: Path, format_: str = "auto") -> tuple[str, list[Entry]]:
    with open_source(path, format_=format_) as source:
        return source.format, list(source.entries())


def place(path: Path, format_: str = "auto") -> dict[str, tuple[str, str | None]]:
    """Path -> (label, split)."""
    return {entry.path: ("|".join(entry.labels), entry.split) for entry in list_entries(path, format_)[1]}


def touch(folder: Path, *paths: str) -> Path:
    return write_files(folder, dict.fromkeys(paths, b"x"))


def write_zip(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_text(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training", "train"), ("VAL", "validation"), ("valid", "validation"),
        ("validation", "validation"), ("PublicTest", "validation"), ("Public_Test", "validation"),
        ("dev", "validation"), ("test", "test"), ("PrivateTest", "test"), ("cat", None), ("", None),
    ],
)  # fmt: skip
def test_split_names(name: str, split: str | None) -> None:
    assert parse_split(name) == split


# --- folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["train/cat/1.png", "val/b/1.png"], {"train/cat/1.png": ("cat", "train"), "val/b/1.png": ("b", "validation")}),
        (["a/train/1.png", "b/test/1.png"], {"a/train/1.png": ("a", "train"), "b/test/1.png": ("b", "test")}),
        (["pets/train/1.png"], {"pets/train/1.png": ("", "train")}),
        (["cat/1.png", "dog/1.png"], {"cat/1.png": ("cat", None), "dog/1.png": ("dog", None)}),
        (["1.png", "2.png"], {"1.png": ("", None), "2.png": ("", None)}),
        (["cat/1.png"], {"cat/1.png": ("cat", None)}),
        (["pets/cat/1.png", "pets/dog/1.png"], {"pets/cat/1.png": ("cat", None), "pets/dog/1.png": ("dog", None)}),
        (["pets/train/cat/1.png"], {"pets/train/cat/1.png": ("cat", "train")}),
        (["train/1.png"], {"train/1.png": ("", "train")}),
        (["none/cat/1.png", "train/cat/1.png"], {"none/cat/1.png": ("cat", None), "train/cat/1.png": ("cat", "train")}),
        (["train/cat/deep/1.png"], {"train/cat/deep/1.png": ("cat", "train")}),
        (["1.png", "cat/1.png"], {"1.png": ("", None), "cat/1.png": ("cat", None)}),
        (["été/ø 1.png"], {"été/ø 1.png": ("été", None)}),
    ],
)  # fmt: skip
def test_folders_tell_class_and_split_and_an_archive_of_them_tells_the_same(
    tmp_path: Path, paths: list[str], expected: dict[str, tuple[str, str | None]]
) -> None:
    folder = touch(tmp_path / "source", *paths)
    archive = write_zip(tmp_path / "source.zip", dict.fromkeys(reversed(paths), b"x"))

    assert place(folder) == expected
    assert place(archive) == expected
    assert list(place(folder)) == list(place(archive))


def test_what_systems_leave_behind_is_not_counted(tmp_path: Path) -> None:
    junk = ["cat/.DS_Store", "cat/Thumbs.db", "__MACOSX/cat/._1.png", ".git/config", "desktop.ini"]
    folder = touch(tmp_path / "source", "cat/1.png", "cat/notes.txt", *junk)

    assert list(place(folder)) == ["cat/1.png", "cat/notes.txt"]
    with open_source(folder) as source:
        assert source.count() == 2


def test_links_to_files_are_followed_and_links_to_folders_named(tmp_path: Path) -> None:
    folder = touch(tmp_path / "source", "cat/1.png")
    (folder / "dog").symlink_to(folder / "cat")
    (folder / "cat" / "2.png").symlink_to(folder / "cat" / "1.png")
    (folder / "cat" / "3.png").symlink_to(folder / "nowhere")
    (folder / "cat" / "4.png").symlink_to("4.png")

    with open_source(folder) as source:
        entries = {entry.path: entry for entry in source.entries()}
        assert source.read(entries["cat/2.png"]) == b"x"
        with pytest.raises(Refused, match="no such file"):
            source.read(entries["cat/3.png"])
        with pytest.raises(Refused, match="Too many levels of symbolic links"):
            source.read(entries["cat/4.png"])
    assert entries["dog"].problem == "a link to a folder; import that folder itself"


def test_a_name_in_another_encoding_is_refused_with_a_name_that_can_be_shown(tmp_path: Path) -> None:
    folder = touch(tmp_path / "source", "cat/1.png")
    Path(os.fsdecode(bytes(folder) + b"/cat/\xff.png")).write_bytes(b"x")

    problems = {entry.path: entry.problem for entry in list_entries(folder)[1]}

    assert problems == {"cat/1.png": "", "cat/\\xff.png": "the name is not UTF-8"}


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    folder = touch(tmp_path / "source", "cat/1.png")
    os.mkfifo(folder / "cat" / "2.png")
    with open_source(folder) as source, pytest.raises(Refused, match="not a regular file"):
        source.read(Entry(path="cat/2.png", file="cat/2.png"))


# --- archives ------------------------------------------------------------------------------------------------------


def problems_of(path: Path) -> dict[str, str]:
    return {entry.path: entry.problem for entry in list_entries(path)[1] if entry.problem}


def test_files_of_an_archive_that_are_not_what_they_should_be_are_refused(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "a.zip",
        {"../out.png": b"x", "/abs.png": b"x", "C:\\win.png": b"x", "cat/1.png": b"x", "cat/more.zip": b"x"},
    )
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("cat/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")

    assert problems_of(path) == {
        "../out.png": "the name leads out of the archive",
        "abs.png": "the name leads out of the archive",
        "C:/win.png": "the name leads out of the archive",
        "cat/link.png": "a link, not a file",
        "cat/more.zip": "an archive inside the archive; unpack it first",
    }


def test_a_name_twice_keeps_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/1.png", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("cat/1.png", b"second")

    with open_source(path) as source:
        entries = list(source.entries())
        assert source.read(entries[0]) == b"first"
    assert [entry.problem for entry in entries] == ["", "the archive holds this name twice; the first one was taken"]


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"cat/1.png": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    path.write_bytes(data)

    assert problems_of(path) == {"cat/1.png": "encrypted"}


def test_a_damaged_file_of_an_archive_is_refused_when_it_is_read(tmp_path: Path) -> None:
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        path = write_zip(tmp_path / f"{compression}.zip", {"cat/1.png": draw(1, size=40)}, compression)
        data = bytearray(path.read_bytes())
        data[100:140] = b"\0" * 40
        path.write_bytes(data)
        with open_source(path) as source, pytest.raises(Refused, match="damaged here"):
            source.read(next(iter(source.entries())))


def test_bombs_and_broken_archives_are_refused_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="neither a folder, a zip archive nor a CSV"):
        list_entries(write_text(tmp_path / "a.bin", "no archive"))
    with pytest.raises(Invalid, match="neither a folder, a zip archive nor a CSV"):
        list_entries(write_text(tmp_path / "broken.zip", "PK no archive"))
    bomb = write_zip(tmp_path / "bomb.zip", {f"{n}.png": b"\0" * 300_000 for n in range(5)}, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(trees, "_RATIO_FROM_BYTES", 1_000_000)
    with pytest.raises(Invalid, match="taken for a bomb"):
        list_entries(bomb)
    monkeypatch.setattr(trees, "MAX_ARCHIVE_FILES", 4)
    with pytest.raises(Invalid, match="more than 4 files"):
        list_entries(bomb)


def test_overlapping_files_are_a_bomb(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"1.png": b"x" * 2000, "2.png": b"y" * 10})
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    first = data[start : data.index(b"PK\x01\x02", start + 4)]
    end = bytearray(data[data.index(b"PK\x05\x06") :])
    entries = first * 3
    end[8:12] = (3).to_bytes(2, "little") * 2
    end[12:16] = len(entries).to_bytes(4, "little")
    path.write_bytes(data[:start] + entries + end)

    with pytest.raises(Invalid, match="its files overlap"):
        list_entries(path)


# --- FER2013 -------------------------------------------------------------------------------------------------------

PIXELS = " ".join(str(value) for value in range(16))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"emotion,pixels,Usage\n0,{PIXELS},Training\n6,{PIXELS},PublicTest\n3,{PIXELS},PrivateTest\n",
            {"train/row00000.png": ("angry", "train"), "validation/row00001.png": ("neutral", "validation"),
             "test/row00002.png": ("happy", "test")},
        ),
        (f"emotion, Usage, pixels\r\n1,Training,{PIXELS}\r\n", {"train/row00000.png": ("disgust", "train")}),
        (f"\ufeffPixels,Emotion\n{PIXELS},5\n", {"row00000.png": ("surprise", None)}),
    ],
)  # fmt: skip
def test_fer2013_in_any_column_order(tmp_path: Path, text: str, expected: dict[str, tuple[str, str | None]]) -> None:
    path = write_text(tmp_path / "fer2013.csv", text)

    assert list_entries(path)[0] == "fer2013"
    assert place(path) == expected
    assert place(write_zip(tmp_path / "fer2013.zip", {"fer2013/fer2013.csv": path.read_bytes()})) == expected


def test_fer2013_pixels_become_the_same_png_every_time(tmp_path: Path) -> None:
    path = write_text(tmp_path / "fer2013.csv", f"emotion,pixels\n0,{PIXELS}\n")
    with open_source(path) as source:
        data = source.read(next(iter(source.entries())))

    assert np.asarray(Image.open(io.BytesIO(data))).tolist() == np.arange(16).reshape(4, 4).tolist()
    assert len(data) == 88


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"7,{PIXELS},Training", "emotion “7” is not a number from 0 to 6"),
        (f"x,{PIXELS},Training", "emotion “x” is not a number from 0 to 6"),
        (f"0,{PIXELS},Holiday", "Usage “Holiday” is not Training, PublicTest or PrivateTest"),
        ("0,1 2 3,Training", "3 pixels are not a square picture"),
        ("0,,Training", "0 pixels are not a square picture"),
        ("0,1 2 3 256,Training", "the pixels are not numbers from 0 to 255"),
        ("0,1 2 3 a,Training", "the pixels are not numbers from 0 to 255"),
    ],
)
def test_fer2013_rows_that_cannot_be_meant(tmp_path: Path, row: str, reason: str) -> None:
    path = write_text(tmp_path / "fer2013.csv", f"emotion,pixels,Usage\n{row}\n")
    with open_source(path) as source:
        entry = next(iter(source.entries()))
        if not entry.problem:
            with pytest.raises(Refused) as caught:
                source.read(entry)
            entry.problem = str(caught.value)
    assert entry.problem == reason


# --- CSV -----------------------------------------------------------------------------------------------------------


def test_csv_columns_in_any_order_become_label_split_status_votes_and_attributes(tmp_path: Path) -> None:
    path = write_text(
        tmp_path / "mine.csv",
        "\ufeffSplit , Label,camera,Path,votes:cat,votes:dog,status\r\n"
        'val,cat,phone,"a, b.png",3,,\r\n'
        "\r\n"
        ",cat|dog,,sub\\2.png,,1,\r\n"
        "none,,,3.png,,,excluded\r\n",
    )

    format_, entries = list_entries(path)

    assert format_ == "csv"
    assert entries == [
        Entry(path="a, b.png", file="a, b.png", labels=("cat",), split="validation",
              attributes={"camera": "phone"}, votes={"cat": 3, "dog": 0}),
        Entry(path="sub/2.png", file="sub/2.png", labels=("cat", "dog"), status="ambiguous",
              votes={"cat": 0, "dog": 1}),
        Entry(path="3.png", file="3.png", status="excluded", votes={"cat": 0, "dog": 0}),
    ]  # fmt: skip


def test_source_is_an_attribute_unless_an_export_wrote_it(tmp_path: Path) -> None:
    own = write_text(tmp_path / "own.csv", "path,label,split,status,source,decisions\n1.png,a,,active,decision,2\n")
    other = write_text(tmp_path / "other.csv", "path,label,source\n1.png,a,flickr\n")

    assert list_entries(own)[1][0].attributes == {}
    assert list_entries(other)[1][0].attributes == {"source": "flickr"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",cat,train,", "the path is empty"),
        ("../1.png,cat,train,", "the path leads out of the folder of the CSV"),
        ("/etc/passwd,cat,train,", "the path leads out of the folder of the CSV"),
        ("C:/1.png,cat,train,", "the path leads out of the folder of the CSV"),
        ("1.png,cat,holiday,", "“holiday” is not a split; use train, validation, test"),
        ("1.png,cat,train,gone", "status “gone” is not active, ambiguous or excluded"),
        ("1.png,cat|dog,train,active", "only an ambiguous image has several classes, this one is active"),
        ("1.png,,train,ambiguous", "an ambiguous image needs its classes, joined by |"),
    ],
)
def test_csv_rows_that_cannot_be_meant(tmp_path: Path, row: str, reason: str) -> None:
    path = write_text(tmp_path / "labels.csv", f"path,label,split,status\n{row}\n")

    assert [entry.problem for entry in list_entries(path)[1]] == [reason]


def test_a_table_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"has no column emotion and pixels or path \(it has: a, b\)"):
        list_entries(write_text(tmp_path / "a.csv", "a,b\n1,2\n"))
    with pytest.raises(Invalid, match="has no column path"):
        list_entries(write_text(tmp_path / "b.csv", ""), "csv")
    (tmp_path / "c.csv").write_bytes(b"path,label\n1.png,caf\xe9\n")
    with pytest.raises(Invalid, match=r"“c.csv” is no readable CSV file after line \d"):
        list_entries(tmp_path / "c.csv")
    with pytest.raises(Invalid, match="There is no file or folder"):
        list_entries(tmp_path / "absent")
    with pytest.raises(Invalid, match="is not a format; use auto, folder, zip, fer2013, csv"):
        list_entries(tmp_path, "parquet")


def test_a_stray_table_beside_folders_does_not_hide_them(tmp_path: Path) -> None:
    folder = touch(tmp_path / "source", "cat/1.png")
    write_text(folder / "people.csv", "file,age\n1.png,3\n")

    format_, entries = list_entries(folder)

    assert format_ == "folder"
    assert [entry.path for entry in entries] == ["cat/1.png", "people.csv"]


# --- votes and attributes ------------------------------------------------------------------------------------------


def test_votes_are_found_by_path_by_unique_name_and_not_by_a_shared_one(tmp_path: Path) -> None:
    rows = VoteFile(
        write_text(
            tmp_path / "v.csv",
            "split,label,file,neutral,happiness\ntrain,angry,a.png,4,6\nval,angry,a.png,1,0\ntrain,sad,b.png,0,9\n",
        )
    ).rows

    assert rows.find("train/angry/a.png", has_unique_name=False) == {"neutral": 4, "happiness": 6}
    assert rows.find("data/val/angry/a.png", has_unique_name=False) == {"neutral": 1, "happiness": 0}
    assert rows.find("elsewhere/b.png", has_unique_name=True) == {"neutral": 0, "happiness": 9}
    assert rows.find("elsewhere/b.png", has_unique_name=False) is None
    assert rows.find("elsewhere/a.png", has_unique_name=True) is None


def test_ferplus_as_published_stands_line_by_line_beside_the_csv(tmp_path: Path) -> None:
    rows = VoteFile(
        write_text(
            tmp_path / "fer2013new.csv",
            "Usage,Image name,neutral,NF\nTraining,fer0.png,4,0\nTraining,,0,10\nPublicTest,fer1.png,1,0\n",
        )
    ).rows

    assert rows.find("fer0.png", has_unique_name=True) == {"neutral": 4, "NF": 0}
    assert rows.find("train/row00001.png", has_unique_name=True) == {"neutral": 0, "NF": 10}
    assert rows.find("validation/row00002.png", has_unique_name=True) == {"neutral": 1, "NF": 0}


def test_options_are_matched_to_classes_by_name_by_other_words_and_by_the_map() -> None:
    matched = match_options(
        ["happiness", "Sad", "anger", "contempt", "NF"], {"happy": 1, "sadness": 2, "cross": 3}, maps={"angry": "cross"}
    )

    assert matched == {"happiness": 1, "Sad": 2, "anger": 3, "contempt": None, "NF": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "has no column path, file or Image name"),
        ("file\na.png\n", "has no columns of votes"),
        ("file,cat\na.png,many\n", "line 2: the votes for cat, “many”, are not a number"),
    ],
)
def test_a_votes_file_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        VoteFile(write_text(tmp_path / "v.csv", text))


def test_attributes_from_a_pattern() -> None:
    pattern = open_attributes("{age}_{gender}_{race}_{}.jpg")

    assert pattern.find("a/b/26_1_0_2017.chip.jpg", has_unique_name=False) == {"age": "26", "gender": "1", "race": "0"}
    assert pattern.find("26_1.jpg", has_unique_name=True) is None
    assert open_attributes("{camera}/{}.png").find("x/front/1.png", has_unique_name=True) == {"camera": "front"}
    with pytest.raises(Invalid, match="names age twice"):
        open_attributes("{age}_{age}.jpg")
    with pytest.raises(Invalid, match="names no field"):
        open_attributes("{}.jpg")


def test_attributes_from_a_file(tmp_path: Path) -> None:
    file = open_attributes(str(write_text(tmp_path / "a.csv", "path,camera,age\ntrain/1.png,front,\n2.png,,7\n")))

    assert file.find("train/1.png", has_unique_name=True) == {"camera": "front"}
    assert file.find("x/2.png", has_unique_name=True) == {"age": "7"}
    with pytest.raises(Invalid, match="neither a readable file"):
        open_attributes(str(tmp_path / "absent.csv"))


def test_names_that_several_images_share() -> None:
    assert list_shared_names(["a/1.png", "b/1.png", "a/2.png"]) == {"1.png"}
    assert PathIndex[int]().find("a/1.png", has_unique_name=True) is None


# --- preview -------------------------------------------------------------------------------------------------------


def test_a_preview_counts_names_and_opens_no_picture(tmp_path: Path) -> None:
    folder = touch(
        tmp_path / "source", "train/10/1.png", "train/2/1.png", "val/2/2.png", "train/x/1.png", "train/free.png"
    )

    assert preview(str(folder), maps={"x": "2"}, drops=["10"]) == {
        "format": "folder",
        "found": 5,
        "complete": True,
        "dropped": 1,
        "unlabelled": 1,
        "classes": {"2": 3},
        "splits": {"train": 3, "validation": 1},
        "paths": ["train/2/1.png", "train/free.png", "train/x/1.png", "val/2/2.png"],
    }
    assert preview(str(folder), limit=2)["complete"] is False
