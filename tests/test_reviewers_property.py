"""Several reviewers, in any order: whatever they do, the rows say what a naive replay of the log says."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests import naive_replay
from tests.conftest import make_pets
from workbench.config import Home
from workbench.db import Database, open_database
from workbench.errors import Conflict, WorkbenchError
from workbench.models import Class, Dataset, Decision, Image, Opinion, Queue, QueueItem
from workbench.queries import datasets as dataset_queries
from workbench.services import (
    bulk_decisions,
    cards,
    checks,
    datasets,
    decisions,
    keeping,
    opinions,
    queues,
    sweeps,
    users,
)
from workbench.services.decisions import Line

PEOPLE = {"ann": "reviewer", "ben": "reviewer", "cem": "reviewer", "lea": "lead"}
WHO = st.sampled_from(list(PEOPLE))
PICK = st.integers(0, 11)
STATEMENT = st.sampled_from(["confirm", "relabel", "relabel", "ambiguous", "exclude"])
VERDICT = st.sampled_from(["confirm", "relabel", "relabel", "ambiguous", "exclude", "restore", "comment"])
STANDING = ("label_id", "status", "ambiguous_ids", "label_source")  # what a reviewer's decision would be based on


class Reviewing(RuleBasedStateMachine):
    """One data set of three images; all in one transaction that is rolled back at the end."""

    def __init__(self, database: Database, home: Home) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._home = home
        self.session: Session = self._stack.enter_context(_rolled_back(database))
        self.dataset: Dataset = make_pets(self.session, per_class=1, name="reviewed")
        self.people = {name: users.ensure_user(self.session, name, role=role) for name, role in PEOPLE.items()}
        self._seen: dict[int, tuple[object, ...]] = {}

    def teardown(self) -> None:
        self._stack.close()

    # --- what there is

    def images(self) -> list[Image]:
        query = select(Image).where(Image.dataset_id == self.dataset.id).order_by(Image.id)
        return list(self.session.scalars(query))

    def image(self, pick: int) -> Image:
        images = self.images()
        return images[pick % len(images)]

    def classes(self) -> list[Class]:
        return dataset_queries.list_open_classes(self.session, self.dataset.id)

    def queues(self) -> list[Queue]:
        return list(self.session.scalars(select(Queue).where(Queue.dataset_id == self.dataset.id).order_by(Queue.id)))

    def items(self, queue: Queue) -> list[QueueItem]:
        query = select(QueueItem).where(QueueItem.queue_id == queue.id).order_by(QueueItem.position)
        return list(self.session.scalars(query))

    def lines(self) -> list[Decision]:
        query = select(Decision).where(Decision.dataset_id == self.dataset.id).order_by(Decision.id)
        return list(self.session.scalars(query))

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """What the rules forbid at present is refused, and leaves nothing behind."""
        try:
            with self.session.begin_nested():
                yield
        except WorkbenchError:
            self.session.expire_all()

    # --- what people do

    @initialize(asked=st.integers(1, 3))
    def open_first_queue(self, asked: int) -> None:
        queues.build_queue(self.session, self._home, dataset=self.dataset, recipe="random")
        queues.build_queue(self.session, self._home, dataset=self.dataset, recipe="random", opinions=asked)

    @precondition(lambda self: len(self.queues()) < 5)
    @rule(asked=st.integers(1, 3), gold=st.sampled_from([0, 0, 50]))
    def open_queue(self, asked: int, gold: int) -> None:
        with self.allowed():
            queues.build_queue(
                self.session, self._home, dataset=self.dataset, recipe="random", opinions=asked, gold=gold
            )

    @rule(who=WHO, pick=PICK, verdict=VERDICT, place=PICK)
    def decide(self, who: str, pick: int, verdict: str, place: int) -> None:
        """On the page of an image."""
        with self.allowed():
            ids = self._class_ids(place)
            image = self.image(pick)
            decisions.decide(
                self.session, image=image, user=self.people[who], verdict=verdict, class_id=ids[0], class_ids=ids,
                text="hm", revision=image.revision,
            )  # fmt: skip

    @rule(who=WHO, pick=PICK, verdict=STATEMENT, place=PICK, number=PICK)
    def answer(self, who: str, pick: int, verdict: str, place: int, number: int) -> None:
        """On the card of a queue: a decision, or an opinion where the queue asks for those."""
        with self.allowed():
            ids = self._class_ids(place)
            item = self._item(number, pick)
            image = self.session.get_one(Image, item.image_id)
            said = cards.Answer(
                verdict=verdict, class_id=ids[0], class_ids=ids, revision=image.revision, action=None, seconds=1.5
            )
            cards.decide(self.session, item=item, user=self.people[who], answer=said)

    @rule(who=WHO, picks=st.lists(PICK, min_size=1, max_size=4), place=PICK, number=PICK)
    def sweep(self, who: str, picks: list[int], place: int, number: int) -> None:
        with self.allowed():
            every = self.queues()
            queue = every[number % len(every)]
            rows = {item.id: item for item in (self._item(number, pick) for pick in picks)}
            marks = {item_id: ["", sweeps.EXCLUDE, sweeps.LATER][(item_id + place) % 3] for item_id in rows}
            revisions = {each.id: self.session.get_one(Image, each.image_id).revision for each in rows.values()}
            sweeps.settle(
                self.session, self.dataset, queue, user=self.people[who], cls=self._some_classes(place)[0],
                marks=marks, revisions=revisions, action=decisions.new_action(),
            )  # fmt: skip

    @rule(
        who=WHO,
        picks=st.lists(PICK, min_size=1, max_size=5),
        verdict=st.sampled_from(bulk_decisions.VERDICTS),
        place=PICK,
    )
    def decide_on_many(self, who: str, picks: list[int], verdict: str, place: int) -> None:
        with self.allowed():
            ids = sorted({self.image(pick).id for pick in picks})
            (into,) = self._some_classes(place)[:1]
            made = bulk_decisions.plan(self.session, dataset=self.dataset, verdict=verdict, into=into, image_ids=ids)
            bulk_decisions.apply(self.session, made, dataset=self.dataset, user=self.people[who], stamp=made.stamp)

    @rule(picks=st.lists(PICK, min_size=1, max_size=3), place=PICK, how=st.sampled_from(["own", "class", "back"]))
    def set_gold(self, picks: list[int], place: int, how: str) -> None:
        with self.allowed():
            opinions.set_gold(
                self.session, dataset=self.dataset, user=self.people["lea"],
                image_ids=sorted({self.image(pick).id for pick in picks}), is_gold=how != "back",
                class_id=self._class_ids(place)[0] if how == "class" else None,
            )  # fmt: skip

    @rule(who=WHO, picks=st.lists(PICK, min_size=1, max_size=3), keeps=st.booleans())
    def keep_labels(self, who: str, picks: list[int], keeps: bool) -> None:
        with self.allowed():
            ids = [self.image(pick).id for pick in picks]
            keeping.keep_labels(self.session, dataset=self.dataset, user=self.people[who], image_ids=ids, keeps=keeps)

    @rule(picks=st.lists(PICK, min_size=1, max_size=3), place=PICK)
    def come_to_a_consensus(self, picks: list[int], place: int) -> None:
        with self.allowed():
            detail = {"method": "majority", "p": 0.9, "opinions": 3}
            ids = sorted({self.image(pick).id for pick in picks})
            lines = [Line("consensus", image_id, self._class_ids(place)[0], detail) for image_id in ids]
            decisions.submit(self.session, dataset=self.dataset, user=self.people["lea"], lines=lines)

    @rule(one=PICK, other=PICK)
    def merge_classes(self, one: int, other: int) -> None:
        with self.allowed():
            (cls,), (into,) = self._some_classes(one)[:1], self._some_classes(other)[:1]
            datasets.merge_class(self.session, dataset=self.dataset, user=self.people["lea"], cls=cls, into=into)

    @rule(pick=PICK, split=st.sampled_from(["train", "test", None]))
    def move(self, pick: int, split: str | None) -> None:
        with self.allowed():
            line = Line("split", self.image(pick).id, detail={"split": split})
            decisions.submit(self.session, dataset=self.dataset, user=self.people["lea"], lines=[line])

    @rule(who=WHO)
    def undo(self, who: str) -> None:
        with self.allowed():
            decisions.undo_last(self.session, dataset=self.dataset, user=self.people[who])

    @rule(who=WHO)
    def redo(self, who: str) -> None:
        with self.allowed():
            decisions.redo_last(self.session, dataset=self.dataset, user=self.people[who])

    @rule(back=st.integers(1, 8))
    def undo_any(self, back: int) -> None:
        """A lead takes back, or brings back, what anybody did."""
        lines = self.lines()
        if lines:
            with self.allowed():
                action = lines[-back % len(lines)].action
                decisions.undo(self.session, dataset=self.dataset, user=self.people["lea"], action=action)

    @rule(who=WHO, pick=PICK)
    def decide_on_what_has_changed(self, who: str, pick: int) -> None:
        """A card from before the newest change is a conflict, always."""
        image = self.image(pick)
        if image.revision:
            with pytest.raises(Conflict), self.session.begin_nested():
                decisions.decide(
                    self.session, image=image, user=self.people[who], verdict="exclude", revision=image.revision - 1
                )

    def _class_ids(self, place: int) -> list[int]:
        return sorted(cls.id for cls in self._some_classes(place))

    def _some_classes(self, place: int) -> list[Class]:
        """Two open classes, or the one that is left."""
        found = self.classes()
        return [found[(place + step) % len(found)] for step in range(min(2, len(found)))]

    def _item(self, number: int, pick: int) -> QueueItem:
        every = self.queues()
        items = self.items(every[number % len(every)])
        return items[pick % len(items)]

    # --- what must be true after each of it

    @invariant()
    def the_rows_say_what_a_naive_replay_says(self) -> None:
        self.session.flush()
        self.session.expire_all()
        lines = self.lines()
        counting = naive_replay.list_counting(lines)
        roots = naive_replay.replay_merges(self.dataset.classes, counting)
        shown = {image.id: naive_replay.replay_image(image, counting) for image in self.images()}
        self._compare_images(shown, roots)
        self._compare_queues(counting)
        self._compare_opinions(counting)

    def _compare_images(self, shown: dict[int, naive_replay.Shown], roots: dict[int, int]) -> None:
        for image in self.images():
            found = shown[image.id]
            label = None if found.status == "ambiguous" or found.label is None else roots[found.label]
            assert (image.label_id, image.status, image.ambiguous_ids or []) == (label, found.status, found.ambiguous)
            assert (image.base_label_id, image.split, image.label_source) == (found.label, found.split, found.source)
            assert (image.disputed, image.gold_id) == (found.disputed, found.gold)
            assert image.keeps_label == found.keeps_label
            assert (image.decided_at is not None) == (found.source != "imported")
            assert image.label is None or image.label.merged_into_id is None

    def _compare_queues(self, counting: list[Decision]) -> None:
        images = {image.id: image for image in self.images()}
        for queue in self.queues():
            done = hits = 0
            for item in self.items(queue):
                marked = naive_replay.replay_item(item, queue, images[item.image_id], counting)
                assert item.opinions == marked.opinions
                assert item.done_action == (marked.done.action if marked.done else None)
                assert item.done_line == (marked.done.id if marked.done else None)
                assert item.hit == marked.hit
                done += marked.done is not None
                hits += bool(marked.hit)
            assert (queue.done, queue.hits) == (done, hits)
            assert queue.size == sum(item.wants > 0 for item in self.items(queue))

    def _compare_opinions(self, counting: list[Decision]) -> None:
        newest = {(line.image_id, line.queue_id, line.user_id): line for line in counting if line.kind == "opinion"}
        stored = {
            (each.image_id, each.queue_id, each.user_id): each
            for each in self.session.scalars(select(Opinion).where(Opinion.image_id.in_([i.id for i in self.images()])))
        }
        assert stored.keys() == newest.keys()
        for key, line in newest.items():
            detail = line.detail or {}
            said = stored[key]
            assert (said.line_id, said.verdict, said.class_id) == (line.id, detail["verdict"], line.class_id)
            assert (said.classes, said.is_gold) == (detail.get("classes"), bool(detail.get("gold")))

    @invariant()
    def an_open_item_is_asked_of_somebody_or_waits_for_a_lead(self) -> None:
        for queue in self.queues():
            for item in self.items(queue):
                if item.wants > 1 and item.done_action is None and item.opinions >= item.wants:
                    assert self.session.get_one(Image, item.image_id).disputed, "nobody is ever asked again"

    @invariant()
    def a_change_is_noticed_by_who_saw_the_image_before(self) -> None:
        """Merges aside, which change no image but how a class is called."""
        for image in self.images():
            standing = tuple(getattr(image, column) for column in STANDING if column != "label_id")
            now = (image.revision, (image.base_label_id, *map(str, standing)))
            before = self._seen.get(image.id)
            if before is not None:
                assert before[1] == now[1] or now[0] > before[0], "the state changed and the revision did not rise"
                assert now[0] >= before[0], "the revision fell"
            self._seen[image.id] = now

    @invariant()
    def the_check_finds_no_difference(self) -> None:
        assert [each.sentence for each in checks.check_dataset(self.session, self.dataset).differences] == []


@contextmanager
def _rolled_back(database: Database) -> Iterator[Session]:
    with database.write() as session:
        yield session
        session.rollback()


def run(database: Database, home: Home, *, examples: int, steps: int) -> None:
    wanted = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(lambda: Reviewing(database, home), settings=wanted)


def test_whatever_reviewers_do_the_rows_say_what_a_naive_replay_says(database: Database, home: Home) -> None:
    run(database, home, examples=15, steps=20)


def main() -> None:
    """python -m tests.test_reviewers_property [EXAMPLES]: as many as one likes."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.at(folder)
        database = open_database(home)
        run(database, home, examples=int(sys.argv[1]) if len(sys.argv) > 1 else 500, steps=30)
        database.close()


if __name__ == "__main__":
    main()
