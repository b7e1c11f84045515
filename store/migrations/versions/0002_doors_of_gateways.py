"""Tokens of gateways, error values of registers, and what quarantine knows of replays and of rows beyond its quota."""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('token', schema=None) as batch_op:
        batch_op.add_column(sa.Column('enterprise', sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column('gateway', sa.String(length=64), nullable=True))
    with op.batch_alter_table('register', schema=None) as batch_op:
        batch_op.add_column(sa.Column('error_values', sa.String(length=200), nullable=True))
    with op.batch_alter_table('quarantine', schema=None) as batch_op:
        batch_op.add_column(sa.Column('readings', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('replayed_as', sa.BigInteger(), nullable=True))
        batch_op.create_index('ix_quarantine_gateway', ['enterprise', 'gateway', 'received_at'], unique=False)
