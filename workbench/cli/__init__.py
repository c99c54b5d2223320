"""The command line: one file per noun; `main` is the entry point. The contract stands in docs/cli.md."""

import os
import sys

import click

from workbench.cli.frame import Workbench
from workbench.errors import WorkbenchError, explain

# command name -> "module:attribute"; imported only when called, so that `workbench --help` is quick
COMMANDS: dict[str, str] = {
    "demo": "workbench.cli.demo:demo",
    "serve": "workbench.cli.serve:serve",
    "import": "workbench.cli.imports:import_",
    "scan": "workbench.cli.scans:scan",
    "findings": "workbench.cli.scans:findings",
    "duplicates": "workbench.cli.duplicates:duplicates",
    "split": "workbench.cli.splits:split",
    "leaks": "workbench.cli.splits:leaks",
    "freeze": "workbench.cli.splits:freeze",
    "unfreeze": "workbench.cli.splits:unfreeze",
    "architectures": "workbench.cli.architectures:architectures",
    "train": "workbench.cli.runs:train",
    "evaluate": "workbench.cli.evaluations:evaluate",
    "control": "workbench.cli.controls:control",
    "promote": "workbench.cli.promoting:promote",
    "predict": "workbench.cli.runs:predict",
    "predictions": "workbench.cli.predictions:predictions",
    "explain": "workbench.cli.explaining:explain",
    "stress": "workbench.cli.explaining:stress",
    "map": "workbench.cli.maps:map_",
    "study": "workbench.cli.studies:study",
    "learn": "workbench.cli.learning:learn",
    "bought": "workbench.cli.bought:bought",
    "queue": "workbench.cli.queues:queue",
    "audit": "workbench.cli.audits:audit",
    "decide": "workbench.cli.decisions:decide",
    "log": "workbench.cli.history:log",
    "agreement": "workbench.cli.agreement:agreement",
    "export": "workbench.cli.exports:export",
    "user": "workbench.cli.users:user",
    "login-link": "workbench.cli.users:login_link",
    "check": "workbench.cli.upkeep:check",
    "backup": "workbench.cli.upkeep:backup",
    "restore": "workbench.cli.upkeep:restore",
    "status": "workbench.cli.upkeep:status",
}


class _Commands(click.Group):
    """Loads a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if name not in COMMANDS:
            return None
        import importlib

        module, attribute = COMMANDS[name].split(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="curation-workbench", prog_name="workbench")
def cli() -> None:
    """Make an image-classification data set trustworthy, and see what that bought."""


def main() -> None:
    """Exit status 0 done, 1 refused or failed with one sentence on standard error, 2 wrong usage."""
    # Before anything loads torch, and inherited by workers: its threads otherwise spin while they wait for one another,
    # which on a machine that is shared with other work costs four times the CPU (docs/experiments.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        cli.main(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        sys.exit(1)
    except WorkbenchError as error:
        click.echo(f"workbench: {error}", err=True)
        sys.exit(1)
    except OverflowError:
        click.echo("workbench: One of these numbers is too large; nothing has it.", err=True)
        sys.exit(1)
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        click.echo(f"workbench: {sentence}", err=True)
        sys.exit(1)


__all__ = ["Workbench", "cli", "main"]
