"""Every page of a data set that has been worked in, for the accessibility test and for `make screenshots`.

    python -m tests.browser.tour DATASET OUT_FOLDER --home HOME [--pages home,card]

serves HOME and writes one picture per page, theme and width.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import select

from tests.live import Live, serve
from workbench.config import Home
from workbench.db import Database
from workbench.models import Audit, Dataset, DuplicateGroup, Image, Job, Opinion, Queue, Run, Study

WIDTHS = {1440: 900, 390: 844}
THEMES = ("light", "dark")


def list_pages(home: Path, dataset: str) -> dict[str, str]:
    """Page name -> address, of the things that this home holds."""
    database = Database(Home.at(home))
    with database.read() as session:
        row = session.scalars(select(Dataset).where(Dataset.name == dataset)).one()
        root = f"/d/{quote(dataset)}"
        image = session.scalars(
            select(Image.id).where(Image.dataset_id == row.id).order_by(Image.p_wrong.desc())
        ).first()
        queues = select(Queue.id).where(Queue.dataset_id == row.id, Queue.closed_at.is_(None))
        queue = (
            session.scalars(queues.where(Queue.recipe == "label_issues")).first()
            or session.scalars(queues.where(Queue.recipe != "near_duplicates")).first()
        )
        group = session.scalars(
            select(DuplicateGroup.id)
            .where(DuplicateGroup.dataset_id == row.id, DuplicateGroup.settled_action.is_(None))
            .order_by(DuplicateGroup.conflicting.desc())
        ).first()
        runs = list(
            session.scalars(select(Run.id).where(Run.dataset_id == row.id, Run.status == "done").order_by(Run.id))
        )
        job = session.scalars(select(Job.id).order_by(Job.id.desc())).first()
        study = session.scalars(select(Study.id).where(Study.dataset_id == row.id).order_by(Study.id.desc())).first()
        disputed = session.scalars(select(Image.id).where(Image.dataset_id == row.id, Image.disputed)).first()
        audit = session.scalars(select(Audit.id).where(Audit.dataset_id == row.id).order_by(Audit.id)).first()
        judges = list(session.scalars(select(Opinion.user_id).distinct().order_by(Opinion.user_id)))
    database.close()
    pages = {
        "home": f"{root}/",
        "grid": f"{root}/images",
        "image": f"{root}/images/{image}",
        "map": f"{root}/map",
        "duplicates": f"{root}/duplicates",
        "findings": f"{root}/findings",
        "audits": f"{root}/audits",
        "splits": f"{root}/splits",
        "splits_preview": f"{root}/splits/preview",
        "runs": f"{root}/runs",
        "posterior": f"{root}/posterior",
        "train": f"{root}/runs/new",
        "studies": f"{root}/studies",
        "study_new": f"{root}/studies/new",
        "classes": f"{root}/classes",
        "history": f"{root}/history",
        "agreement": f"{root}/agreement",
        "adjudication": f"{root}/adjudication",
        "settling": f"{root}/adjudication/bulk?method=majority",
        "export": f"{root}/export",
        "datasets": "/?all=1",
        "import": "/import",
        "jobs": "/jobs",
        "people": "/people",
        "activity": "/activity",
        "settings": "/settings",
    }
    if queue:
        pages |= {"card": f"{root}/queues/{queue}", "sweep": f"{root}/queues/{queue}/sweep"}
    if audit:
        pages |= {
            "audit": f"{root}/audits/{audit}",
            "audit_verdicts": f"{root}/audits/{audit}/verdicts",
            "audit_report": f"{root}/audits/{audit}/report",
        }
    if disputed:
        pages["case"] = f"{root}/adjudication/{disputed}"
    if len(judges) > 1:
        pages |= {
            "pair": f"{root}/agreement/pair/{judges[0]}/{judges[1]}",
            "reviewer": f"{root}/agreement/reviewers/{judges[-1]}",
        }
    if group:
        pages["group"] = f"{root}/duplicates/{group}"
    if runs:
        pages["run"] = f"{root}/runs/{runs[-1]}"
        pages |= {
            f"run_{part}": f"{root}/runs/{runs[0]}/{part}"
            for part in ("measures", "calibration", "groups", "checks", "training")
        }
        pages["rests_on"] = f"{root}/runs/{runs[0]}/rests-on"
        pages["saliency"] = f"{root}/images/{image}/saliency"
    if len(runs) > 1:
        pages["compare"] = f"{root}/compare?a={runs[-2]}&b={runs[-1]}"
    if study:
        pages["study"] = f"{root}/studies/{study}"
    if job:
        pages["job"] = f"/jobs/{job}"
    return pages


@contextmanager
def logged_in(browser: Browser, live: Live, *, width: int = 1440, theme: str = "light") -> Iterator[Page]:
    """A page of the administrator, who comes in by the link once and by its cookie afterwards."""
    state = live.home.parent / "browser-state.json"
    context = browser.new_context(
        viewport={"width": width, "height": WIDTHS.get(width, 900)},
        color_scheme=theme,
        bypass_csp=True,  # axe-core is added as a script
        storage_state=state if state.exists() else None,
    )
    page = context.new_page()
    if not state.exists():
        page.goto(live.login_url)
        context.storage_state(path=state)
    yield page
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--pages", default="")
    parser.add_argument("--widths", default="1440,390")
    parser.add_argument("--themes", default="light,dark")
    parser.add_argument("--full", action="store_true", help="the whole page, not only the first screen")
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    from tests.browser.conftest import ARGS, axe_violations, chromium_path

    pages = list_pages(wanted.home, wanted.dataset)
    chosen = wanted.pages.split(",") if wanted.pages else list(pages)
    with serve(wanted.home) as live, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGS)
        for theme in wanted.themes.split(","):
            for width in map(int, wanted.widths.split(",")):
                with logged_in(browser, live, width=width, theme=theme) as page:
                    for name in chosen:
                        page.goto(live.url + pages[name])
                        page.wait_for_load_state("networkidle")
                        page.screenshot(path=wanted.out / f"{name}-{theme}-{width}.png", full_page=wanted.full)
                        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                        if wide > 0:
                            print(f"{name} {theme} {width}: {wide} px wider than the window")
                        for violation in axe_violations(page):
                            print(f"{name} {theme} {width}: {violation}")
        browser.close()
    (wanted.home.parent / "browser-state.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
