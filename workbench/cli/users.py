"""`workbench user add`, `workbench user invite`, `workbench login-link`."""

import click

from workbench.cli.frame import Workbench, command
from workbench.errors import NotFound
from workbench.models import ROLES
from workbench.queries import users as queries
from workbench.services import invitations, users


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
    bench.record("account", name=made.name, role=made.role)
    bench.answer(document, f"Added {name} ({role}). Let them in with: workbench login-link {name}")


@command("invite", group=user)
@click.option("--role", type=click.Choice(ROLES), default="reviewer", show_default=True, help="What they may do.")
@click.option("--note", default="", help="Whom it is for.")
@click.option("--days", type=int, default=invitations.DAYS, show_default=True, help="For how long it is open.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it is served.")
@click.option("--port", default=8000, show_default=True, help="On which port.")
def invite(bench: Workbench, role: str, note: str, days: int, host: str, port: int) -> None:
    """A link by which somebody makes an account of their own, once."""
    with bench.database.write() as session:
        admin = users.ensure_admin(session)
        made, token = invitations.invite(session, user=admin, role=role, note=note, days=days)
        expires_at = made.expires_at.isoformat(timespec="seconds")
    url = f"http://{host}:{port}/join/{token}"
    bench.answer({"role": role, "note": made.note, "expires_at": expires_at, "url": url}, url)


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
    bench.record("login_link", name=found.name)
    url = f"http://{host}:{port}/login/{token}"
    bench.answer({"user": name, "url": url}, url)
