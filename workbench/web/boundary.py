"""Where a request begins and ends: its session, its commit, its page or fragment, its errors, its headers.

GET opens a snapshot in which a write fails; other methods open one transaction that is committed here, and only here,
when the answer's status is below 400. A view that reads first asks for the writer itself: `begin_writing`.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, abort, current_app, g, make_response, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_login.config import COOKIE_NAME
from flask_login.utils import decode_cookie
from flask_wtf.csrf import CSRFError
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException

from workbench.config import Home
from workbench.db import Database
from workbench.errors import Busy, NotFound, WorkbenchError, explain

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_USED_UP_BY_GET = {"accounts.use_link"}  # not by a HEAD, as previews of links send it
# storing an upload, checking a password and planning a queue take a while and must not hold the writer meanwhile
_READING_POSTS = {
    *("imports.upload", "accounts.log_in", "joining.join", "queues.build", "audits.begin", "comparing.promote"),
    *("maps.look", "maps.queue", "maps.similar"),
}
_MAX_FORM_BYTES = 16 * 1024**2  # of all requests but uploads
_NO_SESSION = {"static"}
_MOST_MESSAGES, _MOST_WORDS = 3, 300


def install(app: Flask, database: Database) -> None:
    app.extensions["workbench"] = database
    app.before_request(_open_session)
    app.after_request(_close_session)
    app.after_request(_add_headers)
    app.teardown_request(_abandon_session)
    app.register_error_handler(WorkbenchError, _show_refusal)
    app.register_error_handler(OverflowError, _show_too_large)
    app.register_error_handler(CSRFError, _show_csrf_error)
    app.register_error_handler(HTTPException, _show_http_error)
    app.register_error_handler(500, _show_crash)


def db() -> Session:
    """The request's session."""
    found: Session = g.session
    return found


def begin_writing() -> None:
    """For a view that was given a snapshot, has read and computed: from here on `db` writes, committed as ever."""
    database: Database = current_app.extensions["workbench"]
    g.pop("stack").close()
    stack = g.stack = ExitStack()
    _enter(stack, database, writes=True)


def begin_reading() -> None:
    """For a view that has written all that it will: committed now, so that others write while it renders its answer."""
    database: Database = current_app.extensions["workbench"]
    g.pop("stack").close()
    stack = ExitStack()
    g.session = stack.enter_context(database.read())
    g.stack = stack
    g.is_saved = True


def home() -> Home:
    database: Database = current_app.extensions["workbench"]
    return database.home


def _open_session() -> None:
    if request.endpoint in _NO_SESSION:
        return
    if request.endpoint != "imports.upload":
        request.max_content_length = _MAX_FORM_BYTES
    database: Database = current_app.extensions["workbench"]
    writes = request.method not in ("GET", "HEAD", "OPTIONS") and request.endpoint not in _READING_POSTS
    writes = writes and _brings_a_login()
    if request.method == "HEAD" and request.endpoint in _USED_UP_BY_GET:
        abort(405)
    stack = g.stack = ExitStack()
    _enter(stack, database, writes=writes)


def _enter(stack: ExitStack, database: Database, *, writes: bool) -> None:
    try:
        g.session = stack.enter_context(database.write() if writes else database.read())
    except Busy:  # the page that says so is read from somewhere
        g.session = stack.enter_context(database.read())
        raise


def _brings_a_login() -> bool:
    """Whether a cookie of ours names somebody. Strangers never hold the writer, whatever they send."""
    return "_user_id" in session or decode_cookie(request.cookies.get(COOKIE_NAME, "")) is not None


def _close_session(response: Response) -> Response:
    stack = g.pop("stack", None)
    if stack is not None:
        if response.status_code >= 400:
            g.session.rollback()
        stack.close()
    return response


def _abandon_session(error: BaseException | None) -> None:  # noqa: ARG001 - the signature is Flask's
    """Only reached with a session when rendering failed before an answer was made."""
    stack = g.pop("stack", None)
    if stack is not None:
        g.session.rollback()
        stack.close()


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def wants_fragment() -> bool:
    """Whether htmx asks for a piece of the page: not when it restores history or follows a boosted link."""
    headers = request.headers
    return (
        headers.get("HX-Request") == "true"
        and headers.get("HX-Boosted") != "true"
        and headers.get("HX-History-Restore-Request") != "true"
    )


def wants_json() -> bool:
    """Whether a script asks, which reads a document and not a page."""
    return request.is_json or request.accept_mimetypes.best == "application/json"


def safe_target(target: str) -> str:
    """Only paths of this server: neither a login nor a way back must send anybody elsewhere."""
    is_path = target.startswith("/") and not target.startswith("//")
    # browsers read a backslash as a slash and leave tabs and line ends out: each makes // of what does not look like it
    return target if is_path and target.isprintable() and "\\" not in target else "/"


def find_shown_page() -> str:
    """The page of ours that the reader had before them when this was sent; the start when it is not known."""
    came = urlsplit(request.headers.get("HX-Current-URL") or request.referrer or "")
    return safe_target(came._replace(scheme="", netloc="").geturl()) if came.netloc == request.host else "/"


def page(template: str, *, block: str | None = None, status: int = 200, **data: Any) -> Response:
    """The whole page, or one of its blocks when htmx asks. The view names the block, never the client."""
    if block is not None and wants_fragment():
        body = render_block(template, block, data)
    else:
        body = render_template(template, **data)
    response = make_response(body, status)
    response.vary.add("HX-Request")
    return response


def render_block(template: str, block: str, data: dict[str, Any]) -> str:
    """One block of a template, alone."""
    current_app.update_template_context(data)
    found = current_app.jinja_env.get_template(template)
    return "".join(found.blocks[block](found.new_context(data)))


def done(url: str, message: str = "") -> ResponseReturnValue:
    """After a POST: go to `url`, where `message` is shown and spoken; a plain browser by a 303."""
    if message:
        say(message)
    if wants_fragment():
        response = make_response("", 204)
        response.headers["HX-Redirect"] = url
        return response
    return redirect(url, 303)


def say(message: str, *, kind: str = "done") -> None:
    """Show a message on the next page that is rendered. kind: done, problem."""
    # the newest few, cut: they travel in a cookie, and browsers drop one of more than 4 KiB with all that is in it
    session["messages"] = [*session.get("messages", []), [kind, message[:_MOST_WORDS]]][-_MOST_MESSAGES:]


def take_messages() -> list[list[str]]:
    found: list[list[str]] = session.pop("messages", [])
    return found


def _show_too_large(_error: OverflowError) -> ResponseReturnValue:
    """SQLite holds numbers of 64 bits; a longer one in the address names nothing."""
    return _show_refusal(NotFound("There is no such page: a number in its address is too large."))


def _show_refusal(error: WorkbenchError) -> ResponseReturnValue:
    return _error_page(error.status, str(error))


def _show_http_error(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None or (error.code or 500) < 400:  # a redirect raised as an exception
        return error.get_response()
    code = error.code or 500
    response = _error_page(code, _SENTENCES.get(code) or error.description or error.name)
    for name, value in error.get_headers():
        if name in ("Retry-After", "Allow"):
            response.headers[name] = value
    return response


def _show_csrf_error(_error: CSRFError) -> ResponseReturnValue:
    return _error_page(400, "The CSRF token of this page is missing or not valid. Reload the page, then try again.")


def _show_crash(error: Exception) -> ResponseReturnValue:
    """Flask has logged it."""
    sentence = explain(getattr(error, "original_exception", None))
    if sentence:
        return _error_page(503, sentence)
    if g.get("is_saved"):
        return _error_page(500, "Something broke on our side after your answers were saved; send them again or reload.")
    return _error_page(500, "Something broke on our side. Nothing was changed; the server's log has the details.")


_SENTENCES = {
    403: "Your role does not allow this; ask a lead or an administrator.",
    404: "There is no such page, or it is gone.",
    405: "This address does not take that kind of request.",
    413: "That is more than the workbench accepts in one upload; import it from the command line instead.",
}


def _error_page(status: int, sentence: str) -> Response:
    return answer_briefly(status, sentence) or page(
        "error.html", status=status, code=status, sentence=sentence, back=_where_from()
    )


def answer_briefly(status: int, sentence: str) -> Response | None:
    """A sentence for htmx (shown as a message, the page stays), a document for a script; none for who wants a page."""
    if wants_json():
        return make_response({"sentence": sentence}, status)
    if not wants_fragment() and request.endpoint not in _NO_SESSION:  # a page says who is logged in
        return None
    response = make_response(sentence, status)
    response.headers["Content-Type"] = "text/plain; charset=utf-8"
    response.headers["HX-Reswap"] = "none"
    return response


def _where_from() -> str:
    """The page whose button was pressed, for a way back; the start rather than this address again."""
    found = find_shown_page()
    return "/" if urlsplit(found).path == request.path else found


def secure_cookies(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Cookies that came over https go back over nothing else: a WSGI layer, because three places set cookies."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            cookies = [(name, f"{value}; Secure" if name == "Set-Cookie" else value) for name, value in headers]
            return start_response(status, cookies, *rest)

        return application(environ, start if environ["wsgi.url_scheme"] == "https" else start_response)

    return answer
