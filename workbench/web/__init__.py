"""Pages: a view parses, calls one query or service, renders. One file per noun, each with its blueprint."""

from workbench.web import (
    accounts,
    activities,
    adjudication,
    answers,
    classes,
    comparing,
    duplicates,
    exports,
    history,
    home,
    images,
    imports,
    jobs,
    joining,
    people,
    queues,
    review,
    run_checking,
    run_parts,
    run_results,
    runs,
    settings,
    splits,
    sweeps,
)

BLUEPRINTS = tuple(
    module.blueprint
    for module in (
        accounts,
        activities,
        adjudication,  # and with it agreement: both are one blueprint
        answers,
        home,
        images,
        queues,
        review,
        sweeps,
        duplicates,
        splits,
        runs,
        run_results,
        run_parts,
        run_checking,
        comparing,
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
