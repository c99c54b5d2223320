"""Where things are: the data folder of an installation, and the files that travel with the program."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def bundled(name: str) -> Path:
    """The folder `templates`, `static` or `migrations`: inside the wheel, or at the top of a checkout."""
    inside = _PACKAGE / "_bundled" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


@dataclass(frozen=True)
class Home:
    """One installation's data folder (`$WORKBENCH_HOME`, default `./workbench-data`); see DESIGN section 5."""

    root: Path

    @classmethod
    def at(cls, path: str | os.PathLike[str] | None = None) -> "Home":
        """The folder given, else `$WORKBENCH_HOME`, else `./workbench-data`; made with mode 0700 if absent."""
        root = Path(path or os.environ.get("WORKBENCH_HOME") or "workbench-data").expanduser().resolve()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(root)

    @property
    def database(self) -> Path:
        return self.root / "workbench.sqlite"

    @property
    def jobs_database(self) -> Path:
        return self.root / "jobs.sqlite"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def thumbnails(self) -> Path:
        return self.root / "thumbnails"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    def run_folder(self, run_id: int) -> Path:
        return self.root / "runs" / str(run_id)

    def secret_key(self) -> str:
        """The key that signs sessions, made at first use with mode 0600."""
        path = self.root / "secret_key"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text()
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
        return path.read_text()
