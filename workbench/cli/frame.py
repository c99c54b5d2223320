"""What every command shares: `--home`, `--json`, the open data folder, a progress bar, one way to print."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from workbench.config import Home
from workbench.db import Database, open_database

Progress = Callable[[int, int, str], None]


class Workbench:
    """Given to every command: the home folder, its database (opened when first asked for), and how to answer."""

    def __init__(self, home: Path | None, *, as_json: bool) -> None:
        self._home = home
        self.as_json = as_json

    @functools.cached_property
    def home(self) -> Home:
        return Home.at(self._home)

    @functools.cached_property
    def database(self) -> Database:
        return open_database(self.home)

    def answer(self, document: dict[str, Any], text: str) -> None:
        """With --json the document and nothing else on standard output; else the text."""
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) if self.as_json else text)

    def record(self, kind: str, *, dataset: str | None = None, **detail: Any) -> None:
        """Say in the log of activities that this was done, by the account that the command line acts as."""
        from workbench.queries import datasets
        from workbench.services import activities, users

        with self.database.write() as session:
            found = datasets.find_dataset(session, dataset) if dataset else None
            admin = users.ensure_admin(session)
            activities.record(session, user=admin, kind=kind, dataset=found, via="command line", **detail)

    def say(self, text: str) -> None:
        """A remark that is not the answer: to standard error."""
        click.echo(text, err=True)


def command(
    *args: Any, group: click.Group | None = None, **kwargs: Any
) -> Callable[[Callable[..., None]], click.Command]:
    """Like `click.command`, with --home and --json; the function gets a Workbench first."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(*, home: Path | None, as_json: bool, **rest: Any) -> None:
            function(Workbench(home, as_json=as_json), **rest)

        params = getattr(function, "__click_params__", [])
        run.__click_params__ = params  # type: ignore[attr-defined]  # click keeps the options there
        with_json = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document.")(run)
        with_home = click.option(
            "--home",
            type=click.Path(path_type=Path),
            help="Data folder (default: $WORKBENCH_HOME or ./workbench-data).",
        )(with_json)
        make = group.command if group else click.command
        made: click.Command = make(*args, **kwargs)(with_home)
        return made

    return decorate


class ProgressBar:
    """A bar on standard error, only on a terminal. Call it with (done, total, message)."""

    def __init__(self, *, unit: str = "img") -> None:
        self._unit = unit
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self.update

    def update(self, done: int, total: int, message: str = "") -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total or None, unit=f" {self._unit}", file=sys.stderr, dynamic_ncols=True)
        self._bar.total = total or None
        if message:
            self._bar.set_description_str(message, refresh=False)
        self._bar.update(done - self._bar.n)

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.close()
