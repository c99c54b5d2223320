"""The least that a review server does: HTTP, one row inserted and synced to disk, the next one read. Nothing else.

    python -m benchmarks.review_floor FILE.sqlite ITEMS PORT

POST /answers with {"item", "verdict"} answers {"item", "payload"}: the next item, which nobody else is given. The web
server, the SQLite settings and the single connection behind a lock are those that suit such a server best.
"""

import json
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import waitress

_SCHEMA = """
CREATE TABLE items (id INTEGER PRIMARY KEY, payload TEXT NOT NULL);
CREATE TABLE answers (id INTEGER PRIMARY KEY, item INTEGER NOT NULL, verdict TEXT NOT NULL, at REAL NOT NULL);
"""


def make_application(file: Path, items: int) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    file.unlink(missing_ok=True)
    connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _SCHEMA)
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO items VALUES (?, ?)", ((i, f"image-{i:07d}.png") for i in range(1, items + 1)))
    connection.execute("COMMIT")
    turn = threading.Lock()
    given = 0

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        nonlocal given
        said = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        with turn:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "INSERT INTO answers (item, verdict, at) VALUES (?, ?, julianday())", (said["item"], said["verdict"])
            )
            item, payload = connection.execute(
                "SELECT id, payload FROM items WHERE id > ? ORDER BY id LIMIT 1", (given,)
            ).fetchone()
            connection.execute("COMMIT")
            given = item
        body = json.dumps({"item": item, "payload": payload}).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


def main() -> None:
    application = make_application(Path(sys.argv[1]), int(sys.argv[2]))
    server = waitress.create_server(application, host="127.0.0.1", port=int(sys.argv[3]), threads=8)
    print("ready", flush=True)
    server.run()


if __name__ == "__main__":
    main()
