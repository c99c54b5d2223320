"""A run keeps who promoted it, why, and the test against the run that was promoted before it."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE runs ADD COLUMN promotion JSON")


def downgrade() -> None:
    op.execute("ALTER TABLE runs DROP COLUMN promotion")
