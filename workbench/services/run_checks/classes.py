"""One class for everything, classes never said, classes that the run cannot say."""

import numpy as np

from workbench.queries import datasets as dataset_queries
from workbench.queries import run_checks as queries
from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, join_names, plural, unchecked, wrong

LEAST_IMAGES = 20
NEVER_SAID = 30  # images of a class of which a model that knows it would have found one
COLLAPSED = 0.95
LEADING = 0.8  # where one class has so many of the labels, saying it nearly always is no collapse


def check_collapse(facts: Facts) -> Outcome:
    """Nearly everything predicted as one class, or a class with many images that is never predicted."""
    table, names = facts.table, facts.judged.class_names
    count = int(table.sum())
    if count < LEAST_IMAGES:
        return unchecked(f"{plural(count, 'image')} are too few to tell whether one class is said for everything.")
    said, labels = table.sum(0), table.sum(1)
    most = int(said.argmax())
    if said[most] >= COLLAPSED * count and labels[most] <= LEADING * count:
        return wrong(
            f"It says {names[most]} for {said[most] / count:.1%} of the {count:,} images, of which "
            f"{labels[most] / count:.1%} are {names[most]}: it has collapsed to one class, and a high figure for that "
            "class alone means nothing."
        )
    never = [names[i] for i in np.flatnonzero((said == 0) & (labels >= NEVER_SAID)).tolist()]
    if never:
        images = int(labels[(said == 0) & (labels >= NEVER_SAID)].sum())
        return wrong(f"It never says {join_names(never)}, which {plural(images, 'image')} show.")
    return fine(f"It says every class that has {NEVER_SAID} images or more; the most frequent is {names[most]}, "
                f"{said[most] / count:.0%} of what it says and {labels[most] / count:.0%} of the labels.")  # fmt: skip


def check_classes(facts: Facts) -> Outcome:
    """Classes that images carry and the run has no column for, and the other way round."""
    known = {int(cls["id"]) for cls in facts.run.config["classes"]}
    counts = queries.count_labels(facts.session, facts.images.measured.tolist())
    classes = {cls.id: cls for cls in dataset_queries.list_classes(facts.session, facts.dataset.id)}
    strange = {class_id: n for class_id, n in counts.items() if class_id not in known and classes[class_id].is_open}
    extra = facts.imported.get("other_columns", [])
    if strange:
        names = [f"{classes[class_id].name} ({n:,})" for class_id, n in strange.items()]
        return wrong(
            f"Images that it is measured on are of classes that it cannot say: {join_names(names)}; it gets none right."
        )
    if extra:
        return wrong(f"The file has columns for classes that the data set does not have: {join_names(extra)}.")
    return fine(f"It knows every class of the images that it is measured on ({len(known)}).")
