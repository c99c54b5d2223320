"""`labels.csv` with every image, and the images under `images/PATH`; `workbench import` reads it back."""

from pathlib import Path

from workbench.services.exporters.contents import Contents
from workbench.services.exporters.targets import open_target
from workbench.services.importers.labels_csv import IMAGES


def write(contents: Contents, destination: Path) -> None:
    with open_target(destination) as target:
        for row, data in contents.pictures(contents.rows):
            contents.put(target, f"{IMAGES}/{row.path}", row=row, data=data)
        contents.finish(target)
