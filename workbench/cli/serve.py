"""`workbench serve`."""

import signal
import sys
import threading
import webbrowser

import click

from workbench.cli.frame import Workbench, command
from workbench.errors import Invalid
from workbench.services import activities, users
from workbench.serving import Workers, can_listen, check_address, is_loopback, serve_web


@command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, help="Worker processes for jobs.")
@click.option("--web-only", is_flag=True, help="No worker: jobs wait until one is started.")
@click.option("--worker-only", is_flag=True, help="No web pages, only jobs.")
@click.option("--behind-proxy", is_flag=True, help="Believe X-Forwarded-For, -Proto and -Host, which a proxy sets.")
def serve(
    bench: Workbench, host: str, port: int, workers: int, *, web_only: bool, worker_only: bool, behind_proxy: bool
) -> None:
    """Serve the workbench in the browser and carry out its jobs."""
    if web_only and worker_only:
        raise click.UsageError("--web-only and --worker-only exclude each other.")
    if worker_only:
        run_workers(bench, workers)
        return
    check_address(bench.database, host, behind_proxy=behind_proxy)
    if not can_listen(host, port):
        raise Invalid(f"Port {port} on {host} is taken; choose another with --port.")
    count = 0 if web_only else workers
    run(bench, host=host, port=port, workers=count, open_browser=False, behind_proxy=behind_proxy)


def run(
    bench: Workbench, *, host: str, port: int, workers: int, open_browser: bool, behind_proxy: bool = False
) -> None:
    """Web and workers until Ctrl+C or SIGTERM; prints where, with a login link while we are on this machine only."""
    crew = Workers(bench.home, workers)
    signal.signal(signal.SIGTERM, _interrupt)
    url = _first_page(bench, host, port)

    def when_ready() -> None:
        bench.answer(
            {"url": url}, f"\n  The workbench is at {url}\n  (the link logs you in once; Ctrl+C stops the workbench)\n"
        )
        sys.stdout.flush()
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    crew.start()
    try:
        serve_web(bench.database, host=host, port=port, when_ready=when_ready, behind_proxy=behind_proxy)
    except KeyboardInterrupt:
        bench.say("Stopping …")
    finally:
        crew.stop()


def run_workers(bench: Workbench, count: int) -> None:
    crew = Workers(bench.home, count)
    signal.signal(signal.SIGTERM, _interrupt)
    _ = bench.database  # migrated before the workers look
    crew.start()
    bench.say(f"{count} worker{'s' if count != 1 else ''} at work; Ctrl+C stops.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        bench.say("Stopping …")
    finally:
        crew.stop()


def _first_page(bench: Workbench, host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    if not is_loopback(host):
        return f"http://{shown}:{port}/"
    with bench.database.write() as session:
        admin = users.ensure_admin(session)
        token = users.make_login_link(session, user=admin)
        activities.record(session, user=admin, kind="login_link", name=admin.name, via="command line")
    return f"http://{shown}:{port}/login/{token}"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
