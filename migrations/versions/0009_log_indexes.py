"""The log is sought by kind and by queue."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    columns = ["dataset_id", "kind", "user_id", "id"]
    op.create_index("ix_decisions_kind", "decisions", columns, sqlite_where=sa.text("kind <> ''"))
    op.create_index("ix_decisions_queue", "decisions", ["queue_id", "id"], sqlite_where=sa.text("queue_id IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("ix_decisions_queue", "decisions")
    op.drop_index("ix_decisions_kind", "decisions")
