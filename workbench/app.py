"""The web application: configuration, blueprints, and nothing else."""

from flask import Flask
from flask_wtf.csrf import CSRFProtect
from jinja2 import StrictUndefined

from workbench import __version__
from workbench.config import bundled
from workbench.db import Database
from workbench.web import BLUEPRINTS, accounts, boundary, marks

MAX_UPLOAD_BYTES = 2 * 1024**3


def create_app(database: Database) -> Flask:
    """One application over one home folder. Creating it opens no session and starts nothing."""
    app = Flask(
        "workbench",
        template_folder=str(bundled("templates")),
        static_folder=str(bundled("static")),
        static_url_path="/static",
    )
    app.config.update(
        SECRET_KEY=database.home.secret_key(),
        MAX_CONTENT_LENGTH=MAX_UPLOAD_BYTES,
        MAX_FORM_MEMORY_SIZE=8 * 1024**2,
        MAX_FORM_PARTS=200_000,
        SESSION_COOKIE_NAME="workbench",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        REMEMBER_COOKIE_HTTPONLY=True,
        REMEMBER_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,
        SEND_FILE_MAX_AGE_DEFAULT=86400,
    )
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals["workbench_version"] = __version__
    boundary.install(app, database)
    accounts.install(app)
    CSRFProtect(app)  # last: it reads the whole form, which no stranger shall make us do
    marks.install(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    app.wsgi_app = boundary.secure_cookies(app.wsgi_app)  # type: ignore[method-assign]  # the place Flask names for it
    return app
