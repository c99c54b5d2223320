"""`workbench decide`: all lines of a file or none, one action for each."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.conftest import make_pets
from workbench.config import Home
from workbench.db import Database
from workbench.errors import Forbidden, Invalid
from workbench.models import Dataset, Decision, DuplicateGroup, DuplicateMember, Image, Queue, QueueItem, User
from workbench.queries import users as user_queries
from workbench.services import checks, datasets, decisions, users, verdict_files


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "decisions.csv"
    path.write_bytes(text.encode())
    return path


def decide(session: Session, dataset: Dataset, user: User, tmp_path: Path, text: str) -> dict[str, int]:
    rows = verdict_files.read_rows(write(tmp_path, text))
    return verdict_files.decide_rows(session, dataset=dataset, user=user, rows=rows)


def state(session: Session, path: str) -> tuple[str | None, str, str]:
    image = session.scalars(select(Image).where(Image.path == path)).one()
    return (image.label.name if image.label else None, image.status, image.label_source)


def test_each_verdict(session: Session, pets: Dataset, bob: User, tmp_path: Path) -> None:
    by = decide(
        session, pets, bob, tmp_path,
        "path,verdict,class\ncat/0.png,confirm,\ncat/1.png,relabel,dog\ndog/0.png,ambiguous,dog|owl\n"
        "dog/1.png,exclude,\nowl/0.png,confirm,owl\n",
    )  # fmt: skip

    assert by == {"ambiguous": 1, "confirm": 2, "exclude": 1, "relabel": 1}
    assert [state(session, path) for path in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", "owl/1.png")] == [
        ("cat", "active", "decision"),
        ("dog", "active", "decision"),
        (None, "ambiguous", "decision"),
        ("dog", "excluded", "decision"),
        ("owl", "active", "imported"),
    ]
    assert checks.check(session).ok


def test_any_column_order_a_byte_order_mark_windows_lines_and_a_comment(
    session: Session, pets: Dataset, bob: User, tmp_path: Path
) -> None:
    by = decide(
        session, pets, bob, tmp_path,
        '\ufeffComment, Class ,Verdict,path\r\n"blurred, dark",,EXCLUDE,cat/0.png\r\n\r\nnice,,comment,cat/1.png\r\n',
    )  # fmt: skip

    assert by == {"comment": 1, "exclude": 1}
    lines = [(line.kind, line.detail) for line in session.scalars(select(Decision).order_by(Decision.id))]
    assert lines == [("exclude", None), ("comment", {"text": "blurred, dark"}), ("comment", {"text": "nice"})]
    assert decisions.undo_last(session, dataset=pets, user=bob)
    decisions.undo_last(session, dataset=pets, user=bob)
    assert state(session, "cat/0.png") == ("cat", "active", "imported")


def test_lines_about_one_image_count_in_their_order(session: Session, pets: Dataset, bob: User, tmp_path: Path) -> None:
    decide(
        session, pets, bob, tmp_path,
        "path,verdict,class\ncat/0.png,relabel,dog\ncat/0.png,confirm,dog\ncat/0.png,exclude,\ncat/0.png,restore,\n"
        "cat/1.png,exclude,\n",
    )  # fmt: skip

    assert state(session, "cat/0.png") == ("dog", "active", "decision")
    assert state(session, "cat/1.png")[1] == "excluded"
    assert checks.check(session).ok


def test_every_bad_line_is_named_and_nothing_is_written(
    session: Session, pets: Dataset, bob: User, tmp_path: Path
) -> None:
    text = (
        "path,verdict,class,comment\ncat/0.png,relabel,dog,\nno.png,confirm,,\ncat/0.png,delete,,\n,confirm,,\n"
        "cat/1.png,relabel,fox,\ncat/1.png,relabel,,\ncat/1.png,relabel,cat|dog,\ncat/1.png,ambiguous,cat,\n"
        "dog/0.png,exclude,dog,\ndog/0.png,comment,,\ndog/0.png,confirm,cat|dog,\n"
    )
    with pytest.raises(Invalid) as caught:
        decide(session, pets, bob, tmp_path, text)

    assert str(caught.value) == (
        "Nothing was decided, 10 of 11 lines are wrong. line 3: pets has no image “no.png”; "
        "line 4: “delete” is not a verdict; use confirm, relabel, ambiguous, exclude, restore, comment; "
        "line 5: the path is empty; line 6: “fox” is not a class of pets (it has: cat, dog, owl); "
        "line 7: relabel needs one class; line 8: relabel needs one class; "
        "line 9: ambiguous needs two or more classes, joined by |; line 10: exclude takes no class; "
        "line 11: the comment is empty; line 12: confirm takes at most one class, the one that it confirms."
    )
    assert session.scalar(select(func.count()).select_from(Decision)) == 0


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("cat/0.png,confirm,dog", "confirm names “dog”, but that is not the label that the image has; use relabel"),
        ("loose.png,confirm,", "This image has no label to confirm; choose a class"),
    ],
)
def test_a_confirm_that_confirms_nothing(
    session: Session, pets: Dataset, bob: User, tmp_path: Path, row: str, fault: str
) -> None:
    image = session.scalars(select(Image).where(Image.path == "owl/1.png")).one()
    image.path, image.label_id, image.base_label_id, image.first_label_id = "loose.png", None, None, None

    with pytest.raises(Invalid) as caught:
        decide(session, pets, bob, tmp_path, f"path,verdict,class\ncat/1.png,exclude,\n{row}\n")

    assert str(caught.value) == f"Nothing was decided, 1 of 2 lines are wrong. line 3: {fault}."
    assert session.scalar(select(func.count()).select_from(Decision)) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column path and no column verdict"),
        ("path,class\na,b\n", "has no column verdict; it needs path,verdict,class"),
        ("path,verdict,class\n\n", "holds no decisions"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        verdict_files.read_rows(write(tmp_path, text))
    with pytest.raises(Invalid, match="cannot be read"):
        verdict_files.read_rows(tmp_path / "absent.csv")


def test_a_viewer_may_not_decide(session: Session, pets: Dataset, tmp_path: Path) -> None:
    vera = users.add_user(session, name="vera", role="viewer")
    with pytest.raises(Forbidden, match="“vera” may not decide"):
        decide(session, pets, vera, tmp_path, "path,verdict,class\ncat/0.png,confirm,\n")


def test_a_class_that_is_not_open_is_no_class(session: Session, pets: Dataset, bob: User, tmp_path: Path) -> None:
    datasets.retire_class(session, dataset=pets, user=bob, cls=datasets.get_class(session, pets, "owl"))
    with pytest.raises(Invalid, match=r"“owl” is not a class of pets \(it has: cat, dog\)"):
        decide(session, pets, bob, tmp_path, "path,verdict,class\ncat/0.png,relabel,owl\n")


def test_queues_and_duplicate_groups_follow(session: Session, pets: Dataset, bob: User, tmp_path: Path) -> None:
    images = {image.path: image for image in session.scalars(select(Image))}
    queue = Queue(dataset_id=pets.id, recipe="random", title="r")
    group = DuplicateGroup(
        dataset_id=pets.id, key="k", kind="exact", score=1.0, p=1.0, size=2, conflicting=True, spanning=False, rank=0
    )
    session.add_all([queue, group])
    session.flush()
    members = [images["cat/0.png"], images["dog/0.png"]]
    session.add_all([DuplicateMember(group_id=group.id, image_id=image.id) for image in members])
    items = [
        QueueItem(queue_id=queue.id, image_id=image.id, position=position, score=0.0, reason="drawn")
        for position, image in enumerate(members)
    ]
    session.add_all(items)
    session.flush()

    decide(
        session,
        pets,
        bob,
        tmp_path,
        "path,verdict,class\ncat/0.png,relabel,dog\ndog/0.png,comment,\n".replace("comment,", "confirm,"),
    )

    lines = {line.image_id: line.action for line in session.scalars(select(Decision))}
    for item in items:
        session.refresh(item)
    assert [item.done_action for item in items] == [lines[image.id] for image in members]
    assert len(set(lines.values())) == 2
    session.refresh(group)
    assert group.conflicting is False


def test_thousands_of_lines_take_seconds(session: Session, bob: User, tmp_path: Path) -> None:
    dataset = make_pets(session, per_class=1000, name="many")
    rows = "".join(f"{name}/{number}.png,relabel,dog\n" for name in ("cat", "owl") for number in range(1000))
    started = time.process_time()

    assert decide(session, dataset, bob, tmp_path, "path,verdict,class\n" + rows) == {"relabel": 2000}

    assert time.process_time() - started < 5
    labels = session.execute(
        select(Image.label_id, func.count()).where(Image.dataset_id == dataset.id).group_by(Image.label_id)
    )
    assert sorted(count for _, count in labels) == [3000]


def test_the_command_makes_the_reviewer_and_answers_json(database: Database, home: Home, tmp_path: Path) -> None:
    with database.write() as session:
        make_pets(session)
    path = write(tmp_path, "path,verdict,class\ncat/0.png,confirm,\ncat/1.png,relabel,dog\n")
    command = [sys.executable, "-c", "from workbench.cli import main; main()", "decide", "--dataset", "pets", "--json"]
    command += ["--home", str(home.root), "--as", "zoe"]

    done = subprocess.run([*command, "--file", str(path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"dataset": "pets", "decided": 2, "by": {"confirm": 1, "relabel": 1}}
    bad = subprocess.run(
        [*command[:-1], "yan", "--file", str(write(tmp_path, "path,verdict\nx,confirm\n"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "line 2: pets has no image “x”." in bad.stderr
    with database.read() as session:
        zoe = user_queries.get_user(session, "zoe")
        assert (zoe.role, user_queries.get_user(session, "yan")) == ("reviewer", None)
