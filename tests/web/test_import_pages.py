"""Import on the web: the form, its preview, the job it asks for, the report."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from tests.conftest import Browser, make_pets
from tests.drawing import draw, write_files, write_pets
from workbench.config import Home
from workbench.db import Database
from workbench.models import Dataset, Import, Job, Refusal
from workbench.services.import_previews import preview
from workbench.worker.jobs import run_job

BrowserAs = Callable[[str], Browser]


def zip_of(files: dict[str, bytes]) -> io.BytesIO:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    target.seek(0)
    return target


def text_of(answer: object) -> str:
    return " ".join(answer.get_data(as_text=True).split())  # type: ignore[attr-defined]


def test_importing_is_for_leads(app: Flask, browser_as: BrowserAs) -> None:
    assert app.test_client().get("/import").status_code == 404
    reviewer = browser_as("reviewer")
    asked = {"dataset": "pets", "source": "/etc"}
    statuses = [
        reviewer.get("/import").status_code,
        reviewer.get("/import/preview?dataset=x&source=/etc").status_code,
        reviewer.post("/import/preview", asked).status_code,
        reviewer.post("/import", asked).status_code,
    ]
    assert statuses == [403] * 4


def test_a_folder_on_the_server_is_previewed_mapped_and_imported(
    browser_as: BrowserAs, database: Database, home: Home, tmp_path: Path
) -> None:
    lead = browser_as("lead")
    source = write_pets(tmp_path / "pets")
    answer = lead.post("/import/preview", {"dataset": " zoo ", "source": str(source)})
    assert answer.status_code == 303
    html = text_of(lead.get(answer.location))
    assert "12 files, read as one folder for each class: 6 in test, 6 in train." in html
    assert ('placeholder="cat"' in html, "Import 12 images" in html) == (True, True)

    started = lead.post(
        "/import",
        {
            "dataset": "zoo",
            "source": str(source),
            "old": ["cat", "dog", "owl"],
            "new": ["", "wolf", ""],
            "drop": ["owl"],
        },
    )
    assert (started.status_code, started.location) == (303, "/jobs/1")
    assert run_job(database, home, 1) == "done"
    with database.read() as session:
        found = session.scalars(select(Import)).one()
        dataset = session.scalars(select(Dataset)).one()
        assert (dataset.name, [cls.name for cls in dataset.classes]) == ("zoo", ["cat", "wolf"])
        assert (found.found, found.imported, found.dropped) == (12, 8, 4)
    html = text_of(lead.get("/d/zoo/imports/1"))
    assert "dog → wolf" in html
    assert "None: every file that was found is accounted for above." in html
    assert "8 images imported, 0 refused." in text_of(lead.get("/jobs/1"))


def test_an_upload_is_kept_in_the_home_folder_and_imported_from_there(
    browser_as: BrowserAs, database: Database, home: Home
) -> None:
    lead = browser_as("lead")
    data = zip_of({"cat/1.png": draw(1), "dog/2.png": draw(2), "dog/bad.png": b"no picture"})
    answer = lead.post("/import/preview", {"dataset": "zoo", "source_file": (data, "../../my pets.zip")})
    assert answer.status_code == 303
    kept = list(home.uploads.rglob("*.zip"))
    assert [path.name for path in kept] == ["my_pets.zip"]
    assert "my_pets.zip into zoo" in text_of(lead.get(answer.location))

    source = f"upload:{kept[0].parent.name}/my_pets.zip"
    lead.post("/import", {"dataset": "zoo", "source": source})
    assert run_job(database, home, 1) == "done"
    html = text_of(lead.get("/d/zoo/imports/1"))
    assert ("<code>dog/bad.png</code>" in html, "not an image" in html) == (True, True)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"dataset": "", "source": "/tmp"}, "1 to 80 characters, no slash."),
        ({"dataset": "a/b", "source": "/tmp"}, "1 to 80 characters, no slash."),
        ({"dataset": "zoo", "source": ""}, "Nothing was chosen."),
        ({"dataset": "zoo", "source": "/nowhere/at/all"}, "There is no such file or folder."),
        ({"dataset": "zoo", "source": "upload:0123456789abcdef/../../secret_key"}, "There is no such file or folder."),
        ({"dataset": "zoo", "source": "PETS", "attributes": "{age}_{age}.png"}, "Like {age}_{race}.jpg"),
        ({"dataset": "zoo", "source": "PETS", "format": "tape"}, "Use auto, folder"),
    ],
)
def test_what_cannot_be_used_is_named_and_what_was_typed_stays(
    browser_as: BrowserAs, database: Database, tmp_path: Path, asked: dict[str, str], sentence: str
) -> None:
    source = str(write_pets(tmp_path / "pets", per_class=1))
    asked = {key: source if words == "PETS" else words for key, words in asked.items()}
    answer = browser_as("lead").post("/import/preview", asked)
    html = text_of(answer)
    assert (answer.status_code, sentence in html) == (422, True)
    assert f'name="dataset" value="{asked["dataset"]}"' in html
    with database.read() as session:
        assert list(session.scalars(select(Job))) == []


def test_only_archives_and_tables_are_uploaded(browser_as: BrowserAs, home: Home) -> None:
    answer = browser_as("lead").post(
        "/import/preview", {"dataset": "zoo", "source_file": (io.BytesIO(b"<svg/>"), "cat.svg")}
    )
    assert (answer.status_code, "An upload is a .zip or .csv file." in text_of(answer)) == (422, True)
    assert not home.uploads.exists()


def test_the_report_accounts_for_every_file_page_by_page(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
        source = session.scalars(select(Import)).one()
        source.found, source.imported, source.refused = 107, 6, 101
        session.add_all(
            Refusal(import_id=source.id, path=f"bad/{n:03d}.png", reason="the file is empty" if n else "not an image")
            for n in range(101)
        )
    browser = browser_as("viewer")
    html = text_of(browser.get("/d/pets/imports/1"))
    assert ("<strong>100</strong> the file is empty" in html, "bad/099.png" in html, "bad/100.png" in html) == (
        True, True, False,
    )  # fmt: skip
    assert "/d/pets/imports/1?after=100" in html
    second = text_of(browser.get("/d/pets/imports/1?after=100"))
    assert ("bad/100.png" in second, "bad/099.png" in second) == (True, False)


def test_the_report_of_another_data_set_is_not_found(browser_as: BrowserAs, database: Database) -> None:
    with database.write() as session:
        make_pets(session)
        make_pets(session, name="others")
    assert browser_as("viewer").get("/d/others/imports/1").status_code == 404


def test_a_preview_counts_problems_and_images_without_a_class(tmp_path: Path) -> None:
    source = write_files(tmp_path / "mixed", {"cat/1.png": draw(1), "cat/ü 2.png": draw(2), "loose.png": draw(3)})
    seen = preview(source)
    assert (seen.format, seen.entries, seen.is_whole, seen.classes) == ("folder", 3, True, {"": 1, "cat": 2})
    assert (seen.splits, seen.problem_count) == ({None: 3}, 0)
    assert sorted(seen.paths) == ["cat/1.png", "cat/ü 2.png", "loose.png"]
