"""The built wheel works without a checkout: templates, static files and migrations travel inside it."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.live import fetch, serve

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(target.glob("*.whl"))


def test_the_wheel_carries_pages_static_files_migrations_and_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "workbench/_bundled/templates/base.html",
        "workbench/_bundled/static/vendor/htmx-2.0.11.min.js",
        "workbench/_bundled/migrations/versions/0001_first.py",
        "ml/train.py",
    ):
        assert wanted in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


@pytest.mark.slow
def test_the_installed_wheel_serves(wheel: Path, tmp_path: Path) -> None:
    """In an environment that has the libraries but not this checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    # a plain path line: the libraries become visible, this environment's own .pth files (the checkout) do not
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = subprocess.run(
        [str(python), "-c", "import workbench; print(workbench.__file__)"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert where.startswith(str(tmp_path))

    command = [str(tmp_path / "venv" / "bin" / "workbench")]
    with serve(tmp_path / "home", command=command, cwd=tmp_path) as live:
        status, text = fetch(f"{live.url}/login")
        assert (status, "Log in</h1>" in text) == (200, True)
        assert fetch(f"{live.url}/static/css/workbench.css?v=1")[0] == 200
