"""Queues that a model makes carry images drawn at random, so that rates stay honest."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE queue_items ADD COLUMN is_random BOOLEAN NOT NULL DEFAULT 0")


def downgrade() -> None:
    op.execute("ALTER TABLE queue_items DROP COLUMN is_random")
