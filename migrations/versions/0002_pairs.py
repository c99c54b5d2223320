"""Pairs say how they were found, what changes one image into the other, and how strong the evidence is."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("duplicate_pairs") as table:
        table.add_column(sa.Column("transform", sa.JSON(), nullable=True))
        table.add_column(sa.Column("evidence", sa.Double(), nullable=False, server_default="0"))
    with op.batch_alter_table("datasets") as table:
        table.add_column(sa.Column("compared_to", sa.Integer(), nullable=True))
        table.add_column(sa.Column("calibration", sa.JSON(), nullable=True))
    # `how` meant the mirror only; the next scan compares everything anew and writes both
    op.execute("UPDATE duplicate_pairs SET transform = '{\"mirrored\": true}' WHERE how = 'mirrored'")
    op.execute("UPDATE duplicate_pairs SET how = 'hashes'")


def downgrade() -> None:
    op.execute("UPDATE duplicate_pairs SET how = 'copy'")
    with op.batch_alter_table("duplicate_pairs") as table:
        table.drop_column("transform")
        table.drop_column("evidence")
    with op.batch_alter_table("datasets") as table:
        table.drop_column("compared_to")
        table.drop_column("calibration")
