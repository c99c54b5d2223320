"""A duplicate group says how many of its images are in use, so that a page need not count them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("duplicate_groups") as table:
        table.add_column(sa.Column("remaining", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE duplicate_groups SET remaining = (SELECT count(*) FROM duplicate_members m JOIN images i"
        " ON i.id = m.image_id WHERE m.group_id = duplicate_groups.id AND i.status <> 'excluded')"
    )


def downgrade() -> None:
    with op.batch_alter_table("duplicate_groups") as table:
        table.drop_column("remaining")
