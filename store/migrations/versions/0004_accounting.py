"""Registers of key energy users, media in use, projects with their quotas and minutes."""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('designation',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('authority', sa.String(length=200), nullable=False),
        sa.Column('document', sa.String(length=200), nullable=True),
        sa.Column('valid_from', sa.DateTime(timezone=True), nullable=True),
        sa.Column('valid_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_designation'))
    )
    op.create_table('medium_use',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('site', sa.String(length=64), nullable=True),
        sa.Column('medium', sa.String(length=64), nullable=False),
        sa.Column('source', sa.String(length=500), nullable=False),
        sa.Column('valid_from', sa.DateTime(timezone=True), nullable=True),
        sa.Column('valid_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_medium_use'))
    )
    op.create_table('project',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('project', sa.String(length=64), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('park', sa.String(length=64), nullable=False),
        sa.Column('name_zh', sa.String(length=200), nullable=True),
        sa.Column('name_en', sa.String(length=200), nullable=True),
        sa.Column('product', sa.String(length=200), nullable=True),
        sa.Column('indicator', sa.String(length=200), nullable=True),
        sa.Column('feedstock', sa.String(length=64), nullable=True),
        sa.Column('design_value', sa.Double(), nullable=True),
        sa.Column('design_unit', sa.String(length=64), nullable=True),
        sa.Column('parameters', sa.Text(), nullable=True),
        sa.Column('approved_on', sa.Date(), nullable=True),
        sa.Column('approval', sa.String(length=200), nullable=True),
        sa.Column('approved_calorific_tce', sa.Double(), nullable=True),
        sa.Column('approved_equivalent_tce', sa.Double(), nullable=True),
        sa.Column('start_by', sa.Date(), nullable=True),
        sa.Column('started_on', sa.Date(), nullable=True),
        sa.Column('planned_operation_on', sa.Date(), nullable=True),
        sa.Column('operating_from', sa.Date(), nullable=True),
        sa.Column('ended_on', sa.Date(), nullable=True),
        sa.Column('source', sa.String(length=500), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_project'))
    )
    op.create_table('quota',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('project', sa.String(length=64), nullable=False),
        sa.Column('day', sa.Date(), nullable=False),
        sa.Column('kind', sa.String(length=64), nullable=False),
        sa.Column('document', sa.String(length=200), nullable=False),
        sa.Column('calorific_tce', sa.Double(), nullable=False),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_quota'))
    )
    op.create_table('stop',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('process', sa.String(length=64), nullable=True),
        sa.Column('document', sa.String(length=200), nullable=True),
        sa.Column('valid_from', sa.DateTime(timezone=True), nullable=True),
        sa.Column('valid_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_stop'))
    )
    op.create_table('metering_point',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('point', sa.String(length=64), nullable=False),
        sa.Column('level', sa.String(length=64), nullable=False),
        sa.Column('medium', sa.String(length=64), nullable=False),
        sa.Column('meter', sa.String(length=64), nullable=True),
        sa.Column('name_zh', sa.String(length=200), nullable=True),
        sa.Column('name_en', sa.String(length=200), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_metering_point'))
    )
    op.create_table('block',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('park', sa.String(length=64), nullable=False),
        sa.Column('block', sa.String(length=64), nullable=False),
        sa.Column('name_zh', sa.String(length=200), nullable=True),
        sa.Column('name_en', sa.String(length=200), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_block'))
    )
    op.create_table('holding',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('site', sa.String(length=64), nullable=False),
        sa.Column('owner', sa.String(length=64), nullable=False),
        sa.Column('park', sa.String(length=64), nullable=False),
        sa.Column('block', sa.String(length=64), nullable=True),
        sa.Column('valid_from', sa.DateTime(timezone=True), nullable=True),
        sa.Column('valid_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_holding'))
    )
    with op.batch_alter_table('assignment', schema=None) as batch_op:
        for column in ('allocation', 'key_meter', 'key_register'):
            batch_op.add_column(sa.Column(column, sa.String(length=64), nullable=True))
    for table in ('designation', 'medium_use', 'project', 'quota', 'stop', 'metering_point', 'block', 'holding'):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.create_index(
                f'uq_{table}_current', ['key'], unique=True, sqlite_where=sa.text('known_to IS NULL'), postgresql_where=sa.text('known_to IS NULL'),
            )
    op.create_table('minutes',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('project', sa.String(length=64), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('held_on', sa.Date(), nullable=False),
        sa.Column('subject', sa.String(length=500), nullable=False),
        sa.Column('evidence', sa.String(length=64), nullable=False),
        sa.Column('kept_by', sa.String(length=200), nullable=False),
        sa.Column('kept_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(['evidence'], ['evidence.sha256'], name=op.f('fk_minutes_evidence_evidence')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_minutes')),
        sa.UniqueConstraint('project', 'evidence', name=op.f('uq_minutes_project'))
    )
    op.create_table('sign_note',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('rule', sa.String(length=64), nullable=False),
        sa.Column('subject', sa.String(length=200), nullable=True),
        sa.Column('period', sa.String(length=64), nullable=False),
        sa.Column('note', sa.Text(), nullable=False),
        sa.Column('looked_at_by', sa.String(length=200), nullable=False),
        sa.Column('looked_at', sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_sign_note'))
    )
    op.create_table('budget',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('region', sa.String(length=64), nullable=True),
        sa.Column('park', sa.String(length=64), nullable=True),
        sa.Column('enterprise', sa.String(length=64), nullable=True),
        sa.Column('measure', sa.String(length=64), nullable=False),
        sa.Column('kind', sa.String(length=64), nullable=False),
        sa.Column('period', sa.String(length=64), nullable=False),
        sa.Column('target', sa.Double(), nullable=True),
        sa.Column('base', sa.Double(), nullable=True),
        sa.Column('shares', sa.String(length=200), nullable=True),
        sa.Column('source', sa.String(length=500), nullable=False),
        sa.Column('withdrawn', sa.Boolean(), nullable=False),
        sa.Column('maker', sa.String(length=200), nullable=False),
        sa.Column('made_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('checker', sa.String(length=200), nullable=True),
        sa.Column('checked_at', sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_budget'))
    )
    with op.batch_alter_table('budget', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_budget_key'), ['key'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('assignment', schema=None) as batch_op:
        for column in ('key_register', 'key_meter', 'allocation'):
            batch_op.drop_column(column)
    for table in ('budget', 'holding', 'block', 'sign_note', 'metering_point', 'stop', 'minutes', 'quota', 'project', 'medium_use', 'designation'):
        op.drop_table(table)
