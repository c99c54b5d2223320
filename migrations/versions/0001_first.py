"""The first schema: data sets, images, decisions, queues, duplicates, runs, jobs, people."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_APPEND_ONLY = """
CREATE TRIGGER decisions_refuse_{verb} BEFORE {verb} ON decisions
BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END
"""


def upgrade() -> None:

    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("promoted_run_id", sa.Integer(), nullable=True),
        sa.Column("scanned_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=("pk_datasets")),
        sa.UniqueConstraint("name", name=("uq_datasets_name")),
    )
    op.create_table(
        "image_hashes",
        sa.Column("pixel_sha256", sa.String(), nullable=False),
        sa.Column("algorithm", sa.String(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("pixel_sha256", "algorithm", name=("pk_image_hashes")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("session_epoch", sa.Integer(), nullable=False),
        sa.Column("settings", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=("pk_users")),
        sa.UniqueConstraint("name", name=("uq_users_name")),
    )
    op.create_table(
        "classes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("colour", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("retired", sa.Boolean(), nullable=False),
        sa.Column("merged_into_id", sa.Integer(), nullable=True),
        sa.Column("first_name", sa.String(), nullable=False),
        sa.Column("first_position", sa.Integer(), nullable=False),
        sa.Column("first_colour", sa.String(), nullable=False),
        sa.Column("first_key", sa.String(), nullable=False),
        sa.Column("added_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=("fk_classes_dataset_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["merged_into_id"], ["classes.id"], name=("fk_classes_merged_into_id")),
        sa.PrimaryKeyConstraint("id", name=("pk_classes")),
        sa.UniqueConstraint("dataset_id", "name", name=("uq_classes_dataset_id_name")),
    )
    op.create_index(("ix_classes_dataset_id_position"), "classes", ["dataset_id", "position"], unique=False)
    op.create_table(
        "duplicate_groups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("p", sa.Double(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("conflicting", sa.Boolean(), nullable=False),
        sa.Column("spanning", sa.Boolean(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("settled_action", sa.String(), nullable=True),
        sa.Column("verdict", sa.String(), nullable=True),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("within_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=("fk_duplicate_groups_dataset_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["within_id"], ["duplicate_groups.id"], name=("fk_duplicate_groups_within_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=("pk_duplicate_groups")),
        sa.UniqueConstraint("dataset_id", "key", name=("uq_duplicate_groups_dataset_id_key")),
    )
    op.create_index(
        ("ix_duplicate_groups_dataset_id_settled_action_rank_id"),
        "duplicate_groups",
        ["dataset_id", "settled_action", "rank", "id"],
        unique=False,
    )
    op.create_index(("ix_duplicate_groups_settled_action"), "duplicate_groups", ["settled_action"], unique=False)
    op.create_index(("ix_duplicate_groups_within_id"), "duplicate_groups", ["within_id"], unique=False)
    op.create_table(
        "imports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("options", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("found", sa.Integer(), nullable=False),
        sa.Column("imported", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("known", sa.Integer(), nullable=False),
        sa.Column("dropped", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=("fk_imports_dataset_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=("pk_imports")),
    )
    op.create_index(("ix_imports_dataset_id"), "imports", ["dataset_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("params", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("log", sa.String(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("created_by_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=True),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=("fk_jobs_created_by_id")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=("fk_jobs_dataset_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=("pk_jobs")),
    )
    op.create_index(("ix_jobs_dataset_id_id"), "jobs", ["dataset_id", "id"], unique=False)
    op.create_index(("ix_jobs_status"), "jobs", ["status"], unique=False)
    op.create_table(
        "login_links",
        sa.Column("token_sha256", sa.String(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("used_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=("fk_login_links_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_sha256", name=("pk_login_links")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("arch", sa.String(), nullable=False),
        sa.Column("preset", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("decision_id", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("from_run_id", sa.Integer(), nullable=True),
        sa.Column("epochs_done", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("images_per_second", sa.Double(), nullable=True),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("created_by_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("promoted_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=("fk_runs_created_by_id")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=("fk_runs_dataset_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["from_run_id"], ["runs.id"], name=("fk_runs_from_run_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=("pk_runs")),
    )
    op.create_index(("ix_runs_dataset_id"), "runs", ["dataset_id"], unique=False)
    op.create_table(
        "images",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("file_sha256", sa.String(), nullable=False),
        sa.Column("pixel_sha256", sa.String(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("first_label_id", sa.Integer(), nullable=True),
        sa.Column("first_split", sa.String(), nullable=True),
        sa.Column("first_status", sa.String(), nullable=False),
        sa.Column("first_ambiguous_ids", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("base_label_id", sa.Integer(), nullable=True),
        sa.Column("label_id", sa.Integer(), nullable=True),
        sa.Column("label_source", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("ambiguous_ids", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("split", sa.String(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("decided_at", sa.DateTime(), nullable=True),
        sa.Column("predicted_id", sa.Integer(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("p_wrong", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["base_label_id"], ["classes.id"], name=("fk_images_base_label_id")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=("fk_images_dataset_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["first_label_id"], ["classes.id"], name=("fk_images_first_label_id")),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=("fk_images_import_id")),
        sa.ForeignKeyConstraint(["label_id"], ["classes.id"], name=("fk_images_label_id")),
        sa.ForeignKeyConstraint(["predicted_id"], ["classes.id"], name=("fk_images_predicted_id")),
        sa.PrimaryKeyConstraint("id", name=("pk_images")),
        sa.UniqueConstraint("dataset_id", "path", name=("uq_images_dataset_id_path")),
    )
    op.create_index(("ix_images_dataset_id_confidence_id"), "images", ["dataset_id", "confidence", "id"], unique=False)
    op.create_index(("ix_images_dataset_id_decided_at_id"), "images", ["dataset_id", "decided_at", "id"], unique=False)
    op.create_index(("ix_images_dataset_id_label_id_id"), "images", ["dataset_id", "label_id", "id"], unique=False)
    op.create_index(
        ("ix_images_dataset_id_label_source_id"), "images", ["dataset_id", "label_source", "id"], unique=False
    )
    op.create_index(("ix_images_dataset_id_p_wrong_id"), "images", ["dataset_id", "p_wrong", "id"], unique=False)
    op.create_index(("ix_images_dataset_id_pixel_sha256"), "images", ["dataset_id", "pixel_sha256"], unique=False)
    op.create_index(
        ("ix_images_dataset_id_predicted_id_id"), "images", ["dataset_id", "predicted_id", "id"], unique=False
    )
    op.create_index(("ix_images_dataset_id_split_id"), "images", ["dataset_id", "split", "id"], unique=False)
    op.create_index(("ix_images_dataset_id_status_id"), "images", ["dataset_id", "status", "id"], unique=False)
    op.create_table(
        "queues",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("params", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("expected_hits", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("closed_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=("fk_queues_dataset_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=("fk_queues_run_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=("pk_queues")),
    )
    op.create_index(("ix_queues_dataset_id"), "queues", ["dataset_id"], unique=False)
    op.create_table(
        "refusals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("import_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=("fk_refusals_import_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=("pk_refusals")),
        sa.UniqueConstraint("import_id", "path", name=("uq_refusals_import_id_path")),
    )
    op.create_table(
        "attributes",
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=("fk_attributes_image_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("image_id", "name", name=("pk_attributes")),
    )
    op.create_index(("ix_attributes_name_value_image_id"), "attributes", ["name", "value", "image_id"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=True),
        sa.Column("class_id", sa.Integer(), nullable=True),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("undoes", sa.String(), nullable=True),
        sa.Column("queue_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["class_id"], ["classes.id"], name=("fk_decisions_class_id")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=("fk_decisions_dataset_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=("fk_decisions_image_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=("fk_decisions_user_id")),
        sa.PrimaryKeyConstraint("id", name=("pk_decisions")),
    )
    op.create_index(("ix_decisions_action"), "decisions", ["action"], unique=False)
    op.create_index(("ix_decisions_dataset_id_id"), "decisions", ["dataset_id", "id"], unique=False)
    op.create_index(("ix_decisions_image_id_id"), "decisions", ["image_id", "id"], unique=False)
    op.create_index(("ix_decisions_undoes"), "decisions", ["undoes"], unique=False)
    op.create_index(("ix_decisions_user_id_id"), "decisions", ["user_id", "id"], unique=False)
    op.create_table(
        "duplicate_members",
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"], ["duplicate_groups.id"], name=("fk_duplicate_members_group_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=("fk_duplicate_members_image_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("group_id", "image_id", name=("pk_duplicate_members")),
    )
    op.create_index(("ix_duplicate_members_image_id"), "duplicate_members", ["image_id"], unique=False)
    op.create_table(
        "duplicate_pairs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("a_id", sa.Integer(), nullable=False),
        sa.Column("b_id", sa.Integer(), nullable=False),
        sa.Column("how", sa.String(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("p", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["a_id"], ["images.id"], name=("fk_duplicate_pairs_a_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["b_id"], ["images.id"], name=("fk_duplicate_pairs_b_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=("fk_duplicate_pairs_dataset_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=("pk_duplicate_pairs")),
        sa.UniqueConstraint("a_id", "b_id", name=("uq_duplicate_pairs_a_id_b_id")),
    )
    op.create_index(("ix_duplicate_pairs_b_id"), "duplicate_pairs", ["b_id"], unique=False)
    op.create_index(("ix_duplicate_pairs_dataset_id"), "duplicate_pairs", ["dataset_id"], unique=False)
    op.create_table(
        "queue_items",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("queue_id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("p_wrong", sa.Double(), nullable=True),
        sa.Column("given_id", sa.Integer(), nullable=True),
        sa.Column("suggested_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("done_action", sa.String(), nullable=True),
        sa.Column("lease_user_id", sa.Integer(), nullable=True),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["given_id"], ["classes.id"], name=("fk_queue_items_given_id")),
        sa.ForeignKeyConstraint(
            ["group_id"], ["duplicate_groups.id"], name=("fk_queue_items_group_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=("fk_queue_items_image_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["lease_user_id"], ["users.id"], name=("fk_queue_items_lease_user_id")),
        sa.ForeignKeyConstraint(["queue_id"], ["queues.id"], name=("fk_queue_items_queue_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["suggested_id"], ["classes.id"], name=("fk_queue_items_suggested_id")),
        sa.PrimaryKeyConstraint("id", name=("pk_queue_items")),
        sa.UniqueConstraint("queue_id", "position", name=("uq_queue_items_queue_id_position")),
    )
    op.create_index(("ix_queue_items_done_action"), "queue_items", ["done_action"], unique=False)
    op.create_index(("ix_queue_items_image_id"), "queue_items", ["image_id"], unique=False)
    op.create_index(
        ("ix_queue_items_lease_user_id_lease_until"), "queue_items", ["lease_user_id", "lease_until"], unique=False
    )
    op.create_index(
        ("ix_queue_items_queue_id_done_action_position"),
        "queue_items",
        ["queue_id", "done_action", "position"],
        unique=False,
    )
    op.create_table(
        "votes",
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("option", sa.String(), nullable=False),
        sa.Column("class_id", sa.Integer(), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["class_id"], ["classes.id"], name=("fk_votes_class_id")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=("fk_votes_image_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("image_id", "option", name=("pk_votes")),
    )

    for verb in ("UPDATE", "DELETE"):
        op.execute(_APPEND_ONLY.format(verb=verb))
