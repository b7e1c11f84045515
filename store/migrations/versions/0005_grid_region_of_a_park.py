"""The grid region of a park, by which its electricity has a CO2 factor."""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('park', schema=None) as batch_op:
        batch_op.add_column(sa.Column('grid_region', sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table('park', schema=None) as batch_op:
        batch_op.drop_column('grid_region')
