"""A data set says which of its splits is frozen, and what was forced on it from a model's own flags."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("datasets") as table:
        table.add_column(sa.Column("frozen_split", sa.String(), nullable=True))
        table.add_column(sa.Column("own_flags", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("datasets") as table:
        table.drop_column("own_flags")
        table.drop_column("frozen_split")
