"""Pages: a view parses, calls one query or service, renders. One file per noun, each with its blueprint."""

from workbench.web import (
    accounts,
    activities,
    classes,
    duplicates,
    exports,
    history,
    home,
    images,
    imports,
    jobs,
    joining,
    people,
    review,
    runs,
    settings,
    splits,
)

BLUEPRINTS = tuple(
    module.blueprint
    for module in (
        accounts,
        activities,
        home,
        images,
        review,
        duplicates,
        splits,
        runs,
        classes,
        history,
        exports,
        imports,
        jobs,
        joining,
        people,
        settings,
    )
)
