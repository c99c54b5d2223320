"""Opinions of several reviewers, gold images, disputes; queues count what is done; invitations; what people did."""

from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Plain ADD COLUMN: rebuilding `decisions` would drop the triggers that keep it append-only.
ADDED = {
    "decisions": ["role VARCHAR", "seconds DOUBLE"],
    "images": [
        "disputed BOOLEAN NOT NULL DEFAULT 0",
        "gold_id INTEGER CONSTRAINT fk_images_gold_id_classes REFERENCES classes (id)",
    ],
    "queues": [
        "done INTEGER NOT NULL DEFAULT 0",
        "hits INTEGER NOT NULL DEFAULT 0",
        "opinions INTEGER NOT NULL DEFAULT 1",
        "blind BOOLEAN NOT NULL DEFAULT 0",
        "after_line INTEGER NOT NULL DEFAULT 0",
    ],
    "queue_items": [
        "wants INTEGER NOT NULL DEFAULT 1",
        "opinions INTEGER NOT NULL DEFAULT 0",
        "done_line INTEGER",
        "hit BOOLEAN",
    ],
}


def upgrade() -> None:
    for table, columns in ADDED.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    op.create_index("ix_images_disputed", "images", ["dataset_id", "id"], sqlite_where=sa.text("disputed"))
    op.create_index("ix_images_gold", "images", ["dataset_id", "id"], sqlite_where=sa.text("gold_id IS NOT NULL"))
    op.create_index(op.f("ix_queue_items_queue_id_done_line"), "queue_items", ["queue_id", "done_line"])
    _make_tables()
    _say_what_settled()


def _make_tables() -> None:
    op.create_table(
        "opinions",
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("queue_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("line_id", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("class_id", sa.Integer(), nullable=True),
        sa.Column("classes", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("is_gold", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_opinions_image_id_images"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_opinions_user_id_users")),
        sa.ForeignKeyConstraint(["class_id"], ["classes.id"], name=op.f("fk_opinions_class_id_classes")),
        sa.PrimaryKeyConstraint("image_id", "queue_id", "user_id", name=op.f("pk_opinions")),
    )
    op.create_index(op.f("ix_opinions_queue_id_image_id"), "opinions", ["queue_id", "image_id"])
    op.create_index(op.f("ix_opinions_user_id_image_id"), "opinions", ["user_id", "image_id"])
    op.create_table(
        "invitations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token_sha256", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("made_by_id", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.Column("used_at", sa.DateTime(), nullable=True),
        sa.Column("used_by_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["made_by_id"], ["users.id"], name=op.f("fk_invitations_made_by_id_users")),
        sa.ForeignKeyConstraint(["used_by_id"], ["users.id"], name=op.f("fk_invitations_used_by_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_invitations_token_sha256")),
    )
    op.create_table(
        "activities",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_activities_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activities")),
    )
    op.create_index(op.f("ix_activities_user_id_id"), "activities", ["user_id", "id"])
    op.create_index(op.f("ix_activities_dataset_id_id"), "activities", ["dataset_id", "id"])
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER activities_refuse_{verb.lower()} BEFORE {verb} ON activities "
            "BEGIN SELECT RAISE(ABORT, 'activities is append-only'); END"
        )


def _say_what_settled() -> None:
    """Items say which line settles them and whether it was a hit, queues how many of either they hold."""
    bind = op.get_bind()
    bind.execute(
        sa.text(
            "UPDATE queues SET after_line = coalesce((SELECT max(id) FROM decisions"
            " WHERE dataset_id = queues.dataset_id AND at < queues.created_at), 0)"
        )
    )
    undone: set[str] = set()
    newest: dict[str, int] = {}  # action -> the newest line that undoes it, or an undo of it
    undos = bind.execute(sa.text("SELECT id, action, undoes FROM decisions WHERE undoes IS NOT NULL ORDER BY id DESC"))
    for line_id, action, undoes in undos:
        if action not in undone:
            undone.add(undoes)
        newest[undoes] = max(newest.get(undoes, 0), newest.get(action, 0), line_id)
    _say_when(bind, undone, newest)
    verdicts: dict[int, list[Any]] = defaultdict(list)
    lines = bind.execute(
        sa.text(
            "SELECT id, image_id, action, kind, class_id FROM decisions WHERE image_id IN"
            " (SELECT image_id FROM queue_items) AND kind IN ('confirm', 'relabel', 'ambiguous', 'exclude') ORDER BY id"
        )
    )
    for line in lines:
        if line.action not in undone:
            verdicts[line.image_id].append(line)
    items = bind.execute(
        sa.text(
            "SELECT i.id, i.image_id, i.given_id, q.after_line FROM queue_items i JOIN queues q ON q.id = i.queue_id"
            " WHERE i.group_id IS NULL"
        )
    )
    settled = []
    for item in items:
        since = [line for line in verdicts.get(item.image_id, ()) if line.id > item.after_line]
        if since:
            last, hit = since[-1], False
            for line in since:
                is_other = line.class_id != item.given_id
                hit = hit and is_other if line.kind == "confirm" else line.kind != "relabel" or is_other
            settled.append({"item": item.id, "action": last.action, "line": last.id, "hit": hit})
    bind.execute(sa.text("UPDATE queue_items SET done_action = NULL WHERE group_id IS NULL"))
    if settled:
        bind.execute(
            sa.text("UPDATE queue_items SET done_action = :action, done_line = :line, hit = :hit WHERE id = :item"),
            settled,
        )
    bind.execute(
        sa.text(
            "UPDATE queue_items SET done_line = (SELECT min(id) FROM decisions WHERE action = queue_items.done_action),"
            " hit = (SELECT verdict <> 'not_duplicates' FROM duplicate_groups g WHERE g.id = queue_items.group_id)"
            " WHERE group_id IS NOT NULL AND done_action IS NOT NULL"
        )
    )
    bind.execute(
        sa.text(
            "UPDATE queues SET"
            " done = (SELECT count(*) FROM queue_items WHERE queue_id = queues.id AND done_action IS NOT NULL),"
            " hits = (SELECT count(*) FROM queue_items WHERE queue_id = queues.id AND hit)"
        )
    )


def _say_when(bind: Any, undone: set[str], newest: dict[str, int]) -> None:
    """`revision` moves with undos too and not with comments, `decided_at` with what settles an image."""
    found: dict[int, dict[str, Any]] = {}
    lines = bind.execute(
        sa.text("SELECT id, image_id, action, kind, at FROM decisions WHERE image_id IS NOT NULL ORDER BY id")
    )
    for line in lines:
        image = found.setdefault(line.image_id, {"image": line.image_id, "revision": 0, "at": None})
        if line.kind != "comment":
            image["revision"] = max(image["revision"], line.id, newest.get(line.action, 0))
        if line.kind in ("confirm", "relabel", "ambiguous", "exclude") and line.action not in undone:
            image["at"] = line.at
    if found:
        bind.execute(
            sa.text("UPDATE images SET revision = :revision, decided_at = :at WHERE id = :image"), list(found.values())
        )


def downgrade() -> None:
    for verb in ("update", "delete"):
        op.execute(f"DROP TRIGGER activities_refuse_{verb}")
    for table in ("activities", "invitations", "opinions"):
        op.drop_table(table)
    op.drop_index(op.f("ix_queue_items_queue_id_done_line"), "queue_items")
    op.drop_index("ix_images_gold", "images")
    op.drop_index("ix_images_disputed", "images")
    with op.batch_alter_table("images") as table:
        table.drop_column("gold_id")
    for table, columns in ADDED.items():
        for column in columns:
            if not column.startswith("gold_id"):
                op.execute(f"ALTER TABLE {table} DROP COLUMN {column.split()[0]}")
