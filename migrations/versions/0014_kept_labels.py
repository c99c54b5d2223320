"""A lead may keep a label from the posterior: the image teaches it whatever the posterior says."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE images ADD COLUMN keeps_label BOOLEAN NOT NULL DEFAULT 0")
    op.create_index("ix_images_keeps_label", "images", ["dataset_id", "id"], sqlite_where=sa.text("keeps_label"))


def downgrade() -> None:
    op.drop_index("ix_images_keeps_label", "images")
    op.execute("ALTER TABLE images DROP COLUMN keeps_label")
