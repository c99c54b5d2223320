"""One picture on both sides: copies, siblings by augmentation, copies that carry two labels or were half removed."""

import re
from collections import defaultdict
from pathlib import PurePosixPath

from workbench.queries import run_checks as queries
from workbench.queries import splits as split_queries
from workbench.services.run_checks.facts import Facts
from workbench.services.run_checks.outcomes import Outcome, fine, plural, unchecked, wrong

LEAKED = 0.01  # of the images measured on; fewer near copies than this move no figure
PARENTS = ("parent", "source_image", "original", "augmented_from", "family")  # attributes that name a parent
WORDS = ("aug", "flip", "mirror", "rot", "shear", "crop", "zoom", "shift", "noise", "bright", "contrast", "jitter")
_SIBLING = re.compile(rf"^(.+?)(?:^|[_\-. ])(?:{'|'.join(WORDS)})[a-z]*[_\-. ]?\d*(?:[_\-. ].*)?$", re.IGNORECASE)


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
    rest = (
        f"{leak.leaked.accuracy:.1%} of those are right, {leak.rest.accuracy:.1%} of the others"
        if leak.rest.n
        else "no image without a copy is left"
    )
    return wrong(
        f"{leak.leaked.n:,} of the {plural(leak.all.n, 'image')} of {leak.split} have a copy among those that it was "
        f"trained on ({leak.exact:,} exact, {leak.near:,} near): {rest}."
    )


def check_families(facts: Facts) -> Outcome:
    """Images measured on whose parent or sibling by augmentation was trained on."""
    trained, measured = set(facts.images.trained.tolist()), set(facts.images.measured.tolist())
    families: dict[tuple[object, str], list[int]] = defaultdict(list)
    for key, image_id in _list_members(facts):
        families[key].append(image_id)
    if not families:
        return fine("No file name or attribute tells of augmentations among the images.")
    parted = [
        members for members in families.values() if not trained.isdisjoint(members) and not measured.isdisjoint(members)
    ]
    known = len({image_id for members in parted for image_id in members if image_id in measured})
    if known:
        return wrong(
            f"The split was made after augmentation: {known:,} of the {len(measured):,} images measured on have their "
            f"original or another variant of it among those trained on ({plural(len(parted), 'family', 'families')})."
        )
    return fine(f"{plural(len(families), 'family', 'families')} of augmented images stand on one side each.")


def _list_members(facts: Facts) -> list[tuple[tuple[object, str], int]]:
    """(family, image) by attributes that name a parent, and by file names; a parent is of its own family."""
    found: list[tuple[tuple[object, str], int]] = []
    for name in PARENTS:
        values = split_queries.list_attribute_values(facts.session, facts.dataset.id, name=name)
        found += [((name, PurePosixPath(value).stem), image_id) for image_id, value in values.items()]
    by_name = queries.list_called_like(facts.session, facts.dataset.id, WORDS)
    said = [(row, match[1]) for row in by_name if (match := _SIBLING.match(PurePosixPath(row.path).stem))]
    found += [((row.first_label_id, stem), row.id) for row, stem in said]
    wanted = {key[1] for key, _ in found}
    if wanted:
        keys = defaultdict(list)
        for key, _ in found:
            keys[key[1]].append(key)
        for path, image_id in queries.get_paths(facts.session, facts.dataset.id).items():
            found += [(key, image_id) for key in set(keys.get(PurePosixPath(path).stem, []))]
    return found


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
