"""`workbench user add`, `workbench login-link`."""

import click

from workbench.cli.frame import Workbench, command
from workbench.errors import NotFound
from workbench.models import ROLES
from workbench.queries import users as queries
from workbench.services import users


@click.group()
def user() -> None:
    """Accounts."""


@command("add", group=user)
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="reviewer", show_default=True, help="What they may do.")
def add(bench: Workbench, name: str, role: str) -> None:
    """Make an account."""
    with bench.database.write() as session:
        made = users.add_user(session, name=name, role=role)
        document = {"user": made.name, "role": made.role}
    bench.answer(document, f"Added {name} ({role}). Let them in with: workbench login-link {name}")


@command("login-link")
@click.argument("name", metavar="USER")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it is served.")
@click.option("--port", default=8000, show_default=True, help="On which port.")
def login_link(bench: Workbench, name: str, host: str, port: int) -> None:
    """A link that logs USER in once, within a day."""
    with bench.database.write() as session:
        found = queries.get_user(session, name)
        if found is None:
            raise NotFound(f"There is no user “{name}”; make one with: workbench user add {name} --role reviewer")
        token = users.make_login_link(session, user=found)
    url = f"http://{host}:{port}/login/{token}"
    bench.answer({"user": name, "url": url}, url)
