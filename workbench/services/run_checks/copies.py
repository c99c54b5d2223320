"""One picture on both sides: copies, augmentations, copies that carry two labels or were half removed."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from workbench.queries import run_checks as queries
from workbench.queries import splits as split_queries
from workbench.services.families import join_by_attribute
from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, plural, unchecked, wrong

LEAKED = 0.01  # of the images measured on; fewer near copies than this move no figure
PARENTS = ("parent", "source_image", "original", "augmented_from", "family")  # attributes that name a parent
WORDS = ("aug", "flip", "mirror", "rot", "shear", "crop", "zoom", "shift", "noise", "bright", "contrast", "jitter")
_AUGMENTED = re.compile(rf"^(.+?)(?:^|[_\-. ])(?:{'|'.join(WORDS)})[a-z]*[_\-. ]?\d*(?:[_\-. ].*)?$", re.IGNORECASE)


def check_copies(facts: Facts) -> Outcome:
    """Images measured on of which the model was taught a copy."""
    leak = facts.leak
    if leak is None:
        return unchecked("There is no labelled image left to measure on.")
    scanned = "" if facts.dataset.scanned_at else " Near copies are known only after a scan."
    share = leak.leaked.n / leak.all.n
    if not leak.exact and share < LEAKED:
        some = f"{plural(leak.leaked.n, 'near copy', 'near copies')} at most" if leak.leaked.n else "No known copy"
        return fine(f"{some} of an image measured on is among those trained on.{scanned}")
    verb = "has" if leak.leaked.n == 1 else "have"
    advice = "" if facts.is_external else " Train with leave_out=near to do without them."
    rest = (
        f"{leak.leaked.accuracy:.1%} of those are right, {leak.rest.accuracy:.1%} of the others"
        if leak.rest.n
        else "no image without a copy is left"
    )
    return wrong(
        f"{leak.leaked.n:,} of the {plural(leak.all.n, 'image')} of {leak.split} {verb} a copy among those that it was "
        f"trained on ({leak.exact:,} exact, {leak.near:,} near): {rest}.{advice}"
    )


def check_families(facts: Facts) -> Outcome:
    """Images measured on whose parent, or another augmentation of it, was trained on."""
    families = _list_families(facts)
    if not families:
        return fine("No file name or attribute tells of augmentations among the images.")
    trained, measured = set(facts.images.trained.tolist()), set(facts.images.measured.tolist())
    parted = [family for family in families if not trained.isdisjoint(family) and not measured.isdisjoint(family)]
    known = len({image_id for family in parted for image_id in family if image_id in measured})
    if known:
        verb = "has its" if known == 1 else "have their"
        return wrong(
            f"The split was made after augmentation: {known:,} of the {len(measured):,} images measured on {verb} "
            f"original or another variant of it among those trained on ({plural(len(parted), 'family', 'families')})."
        )
    return fine(f"{plural(len(families), 'family', 'families')} of augmented images stand on one side each.")


def _list_families(facts: Facts) -> list[set[int]]:
    """Ids of images that come from one, by attributes that name a parent and by file names."""
    session, dataset_id = facts.session, facts.dataset.id
    parents = {name: split_queries.list_attribute_values(session, dataset_id, name=name) for name in PARENTS}
    called = [row for row in queries.list_called_like(session, dataset_id, WORDS) if _AUGMENTED.match(_stem(row.path))]
    if not called and not any(parents.values()):
        return []
    rows = queries.list_called_like(session, dataset_id, [""])
    found = list(_join_by_name(rows).values())
    place = {row.id: number for number, row in enumerate(rows)}
    for values in parents.values():
        edges = join_by_attribute({place[each]: value for each, value in values.items()}, [row.path for row in rows])
        by_parent: dict[int, set[int]] = defaultdict(set)
        for parent, child in edges:
            by_parent[parent] |= {rows[parent].id, rows[child].id}
        found += by_parent.values()
    return [family for family in found if len(family) > 1]


def _join_by_name(rows: Sequence[queries.Named]) -> dict[tuple[object, str], set[int]]:
    """face_aug3 and face_flip come from face, if that is there, and belong together in any case."""
    found: dict[tuple[object, str], set[int]] = defaultdict(set)
    for row in rows:
        match = _AUGMENTED.match(_stem(row.path))
        if match:
            found[row.first_label_id, match[1]].add(row.id)
    for row in rows:
        if (row.first_label_id, _stem(row.path)) in found:
            found[row.first_label_id, _stem(row.path)].add(row.id)
    return found


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


def check_conflicts(facts: Facts) -> Outcome:
    """Equal pixels under two labels, among the images that the run knows."""
    pictures = [each for each in queries.list_shared_pictures(facts.session, facts.dataset.id) if each.labels > 1]
    found = _keep_own(facts, {each.pixels for each in pictures})
    if found:
        return wrong(
            f"{plural(len(found), 'picture')} {'stands' if len(found) == 1 else 'stand'} in it under two labels, pixel "
            "for pixel the same: no model can get both right. Settle their duplicate groups."
        )
    return fine("No picture stands in it under two labels.")


def check_half_removed(facts: Facts) -> Outcome:
    """Copies of which some were excluded while two or more stayed: a removal that took the first of each pair only."""
    pictures = queries.list_shared_pictures(facts.session, facts.dataset.id)
    partly = [each for each in pictures if each.excluded and each.active > 1]
    found = _keep_own(facts, {each.pixels for each in partly})
    if found:
        images = sum(each.active for each in partly if each.pixels in found)
        return wrong(
            f"Copies were removed by halves: of {plural(len(found), 'picture')} some copies are excluded and "
            f"{images:,} still stand, as when a list of pairs is worked off and groups of three or more are forgotten."
        )
    left = sum(1 for each in pictures if each.active > 1)
    return fine(f"No group of copies is removed by halves; {plural(left, 'picture')} may stand more than once.")


def _keep_own(facts: Facts, pixels: set[str]) -> set[str]:
    """Those of the pictures that the run was trained or measured on more than once, or once of each side."""
    if not pixels:
        return set()
    own = {*facts.images.trained.tolist(), *facts.images.measured.tolist()}
    rows = split_queries.list_with_pixels(facts.session, facts.dataset.id, sorted(pixels))
    seen: dict[str, int] = defaultdict(int)
    for row in rows:
        seen[row.pixels] += row.id in own
    return {picture for picture, count in seen.items() if count > 1}
