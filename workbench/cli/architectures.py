"""`workbench architectures`."""

from dataclasses import asdict

import click

from workbench.cli.frame import Workbench, command
from workbench.services.architectures import Architecture, list_families


@command("architectures")
@click.argument("words", required=False, default="")
def architectures(bench: Workbench, words: str) -> None:
    """What --arch takes, with source and size; WORDS for those whose name or source holds them."""
    found = {
        family: [each for each in listed if words.lower() in f"{each.name} {each.source}".lower()]
        for family, listed in list_families().items()
    }
    everything = [each for listed in found.values() for each in listed]
    lines = [line for family, listed in found.items() if listed for line in (family, *map(_tell, listed))]
    nothing = f"No architecture has “{words}” in its name or source."
    bench.answer({"architectures": [asdict(each) for each in everything]}, "\n".join(lines) or nothing)


def _tell(each: Architecture) -> str:
    size = f"{each.image_size} px" if each.image_size else ""
    parameters = f"{each.parameters:,}" if each.parameters else ""
    return f"  {each.name:<26} {size:>7} {parameters:>12}  {each.source}"
