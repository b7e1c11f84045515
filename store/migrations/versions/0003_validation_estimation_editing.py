"""Edits of meter data with their history and evidence."""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('confirmation', schema=None) as batch_op:
        batch_op.add_column(sa.Column('known_from', sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table('register', schema=None) as batch_op:
        batch_op.add_column(sa.Column('formula', sa.String(length=500), nullable=True))
    op.create_table('edit',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('register_key', sa.Integer(), nullable=False),
        sa.Column('kind', sa.String(length=64), nullable=False),
        sa.Column('start', sa.DateTime(timezone=True), nullable=False),
        sa.Column('end', sa.DateTime(timezone=True), nullable=True),
        sa.Column('value', sa.Double(), nullable=True),
        sa.Column('low', sa.Double(), nullable=True),
        sa.Column('high', sa.Double(), nullable=True),
        sa.Column('method', sa.String(length=64), nullable=True),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('evidence', sa.String(length=64), nullable=True),
        sa.Column('state', sa.String(length=64), nullable=False),
        sa.Column('maker', sa.String(length=200), nullable=False),
        sa.Column('made_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('checker', sa.String(length=200), nullable=True),
        sa.Column('checked_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=True),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('withdrawn_by', sa.String(length=200), nullable=True),
        sa.Column('withdrawn_because', sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(['register_key'], ['register_key.register_key'], name=op.f('fk_edit_register_key_register_key')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_edit'))
    )
    with op.batch_alter_table('edit', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_edit_register_key'), ['register_key'], unique=False)
    op.create_table('edit_history',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('edit', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('step', sa.String(length=64), nullable=False),
        sa.Column('by', sa.String(length=200), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('reason', sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(['edit'], ['edit.id'], name=op.f('fk_edit_history_edit_edit')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_edit_history'))
    )
    with op.batch_alter_table('edit_history', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_edit_history_edit'), ['edit'], unique=False)
    op.create_table('evidence',
        sa.Column('sha256', sa.String(length=64), nullable=False),
        sa.Column('name', sa.String(length=200), nullable=False),
        sa.Column('size_bytes', sa.BigInteger(), nullable=False),
        sa.Column('kept_by', sa.String(length=200), nullable=False),
        sa.Column('kept_at', sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint('sha256', name=op.f('pk_evidence'))
    )
    op.create_table('monthly_figure',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('carrier', sa.String(length=64), nullable=False),
        sa.Column('flow', sa.String(length=64), nullable=False),
        sa.Column('kind', sa.String(length=64), nullable=False),
        sa.Column('first_day', sa.Date(), nullable=False),
        sa.Column('last_day', sa.Date(), nullable=False),
        sa.Column('quantity', sa.Double(), nullable=False),
        sa.Column('unit', sa.String(length=64), nullable=False),
        sa.Column('document', sa.String(length=200), nullable=True),
        sa.Column('source', sa.String(length=500), nullable=True),
        sa.Column('withdrawn', sa.Boolean(), nullable=False),
        sa.Column('maker', sa.String(length=200), nullable=False),
        sa.Column('made_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('checker', sa.String(length=200), nullable=True),
        sa.Column('checked_at', sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_monthly_figure'))
    )
    with op.batch_alter_table('monthly_figure', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_monthly_figure_key'), ['key'], unique=False)
    op.create_table('batch',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('carrier', sa.String(length=64), nullable=False),
        sa.Column('batch', sa.String(length=64), nullable=False),
        sa.Column('origin', sa.String(length=64), nullable=False),
        sa.Column('sampled_on', sa.Date(), nullable=True),
        sa.Column('first_day', sa.Date(), nullable=False),
        sa.Column('last_day', sa.Date(), nullable=False),
        sa.Column('mass_t', sa.Double(), nullable=True),
        sa.Column('lhv', sa.Double(), nullable=False),
        sa.Column('lhv_unit', sa.String(length=64), nullable=False),
        sa.Column('basis', sa.String(length=64), nullable=False),
        sa.Column('moisture_ratio', sa.Double(), nullable=True),
        sa.Column('lab', sa.String(length=200), nullable=True),
        sa.Column('report', sa.String(length=200), nullable=True),
        sa.Column('withdrawn', sa.Boolean(), nullable=False),
        sa.Column('maker', sa.String(length=200), nullable=False),
        sa.Column('made_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('checker', sa.String(length=200), nullable=True),
        sa.Column('checked_at', sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_batch'))
    )
    with op.batch_alter_table('batch', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_batch_key'), ['key'], unique=False)
    op.create_table('outage_report',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('meter', sa.String(length=64), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('reported_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('reported_by', sa.String(length=200), nullable=False),
        sa.Column('report', sa.Text(), nullable=False),
        sa.Column('edit', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
        sa.ForeignKeyConstraint(['edit'], ['edit.id'], name=op.f('fk_outage_report_edit_edit')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_outage_report'))
    )
    op.create_table('vee_rule',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('meter', sa.String(length=64), nullable=True),
        sa.Column('register', sa.String(length=64), nullable=True),
        sa.Column('rule', sa.String(length=64), nullable=False),
        sa.Column('low', sa.Double(), nullable=True),
        sa.Column('high', sa.Double(), nullable=True),
        sa.Column('severity', sa.String(length=64), nullable=True),
        sa.Column('enabled', sa.Boolean(), nullable=True),
        sa.Column('valid_from', sa.DateTime(timezone=True), nullable=True),
        sa.Column('valid_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_vee_rule'))
    )
    with op.batch_alter_table('vee_rule', schema=None) as batch_op:
        batch_op.create_index(
            'uq_vee_rule_current', ['key'], unique=True, sqlite_where=sa.text('known_to IS NULL'), postgresql_where=sa.text('known_to IS NULL'),
        )
    op.create_table('balance',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('total_meter', sa.String(length=64), nullable=False),
        sa.Column('total_register', sa.String(length=64), nullable=False),
        sa.Column('part_meter', sa.String(length=64), nullable=False),
        sa.Column('part_register', sa.String(length=64), nullable=False),
        sa.Column('kind', sa.String(length=64), nullable=False),
        sa.Column('valid_from', sa.DateTime(timezone=True), nullable=True),
        sa.Column('valid_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_balance'))
    )
    with op.batch_alter_table('balance', schema=None) as batch_op:
        batch_op.create_index(
            'uq_balance_current', ['key'], unique=True, sqlite_where=sa.text('known_to IS NULL'), postgresql_where=sa.text('known_to IS NULL'),
        )
