"""Votes keep what the import said beside their sum; a member of a duplicate group may be judged another picture."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("votes") as table:
        table.add_column(sa.Column("first_count", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE votes SET first_count = count")
    with op.batch_alter_table("duplicate_members") as table:
        table.add_column(sa.Column("apart", sa.Boolean(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.execute("DELETE FROM votes WHERE first_count = 0")
    op.execute("UPDATE votes SET count = first_count")
    with op.batch_alter_table("votes") as table:
        table.drop_column("first_count")
    with op.batch_alter_table("duplicate_members") as table:
        table.drop_column("apart")
