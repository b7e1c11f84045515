"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None

CURRENT = {"sqlite_where": sa.text("known_to IS NULL"), "postgresql_where": sa.text("known_to IS NULL")}
OPEN = {"sqlite_where": sa.text("closed_at IS NULL"), "postgresql_where": sa.text("closed_at IS NULL")}


def upgrade() -> None:
    op.create_table('alert',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('rule', sa.String(length=64), nullable=False),
        sa.Column('subject', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('severity', sa.String(length=64), nullable=False),
        sa.Column('value', sa.Double(), nullable=False),
        sa.Column('bound', sa.Double(), nullable=False),
        sa.Column('unit', sa.String(length=64), nullable=False),
        sa.Column('period', sa.String(length=64), nullable=False),
        sa.Column('opened_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('text_zh', sa.Text(), nullable=False),
        sa.Column('text_en', sa.Text(), nullable=False),
        sa.Column('facts', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_alert'))
    )
    with op.batch_alter_table('alert', schema=None) as batch_op:
        batch_op.create_index('uq_alert_open', ['rule', 'subject'], unique=True, **OPEN)

    op.create_table('audit',
        sa.Column('seq', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=False, nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('by', sa.String(length=200), nullable=False),
        sa.Column('action', sa.String(length=64), nullable=False),
        sa.Column('subject', sa.String(length=1000), nullable=False),
        sa.Column('details', sa.Text(), nullable=False),
        sa.Column('hash', sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint('seq', name=op.f('pk_audit'))
    )
    op.create_table('audit_head',
        sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('seq', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('hash', sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_head'))
    )
    op.create_table('case_file',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=1000), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('product', sa.String(length=200), nullable=False),
        sa.Column('indicator', sa.String(length=200), nullable=False),
        sa.Column('line', sa.String(length=64), nullable=True),
        sa.Column('standard', sa.String(length=200), nullable=False),
        sa.Column('edition', sa.String(length=200), nullable=False),
        sa.Column('period_start', sa.Date(), nullable=False),
        sa.Column('period_end', sa.Date(), nullable=False),
        sa.Column('state', sa.String(length=64), nullable=False),
        sa.Column('opened_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('text_zh', sa.Text(), nullable=False),
        sa.Column('text_en', sa.Text(), nullable=False),
        sa.Column('facts', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_case_file')),
        sa.UniqueConstraint('key', name=op.f('uq_case_file_key'))
    )
    op.create_table('confirmation',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('product', sa.String(length=200), nullable=False),
        sa.Column('indicator', sa.String(length=200), nullable=False),
        sa.Column('standard', sa.String(length=200), nullable=False),
        sa.Column('confirmed_by', sa.String(length=200), nullable=False),
        sa.Column('confirmed_on', sa.Date(), nullable=False),
        sa.Column('copy', sa.String(length=500), nullable=False),
        sa.Column('remark', sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_confirmation'))
    )
    op.create_table('enterprise',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('name_zh', sa.String(length=200), nullable=True),
        sa.Column('name_en', sa.String(length=200), nullable=True),
        sa.Column('park', sa.String(length=64), nullable=False),
        sa.Column('industry', sa.String(length=200), nullable=True),
        sa.Column('plant_status', sa.String(length=64), nullable=True),
        sa.Column('key_unit', sa.Boolean(), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_enterprise'))
    )
    with op.batch_alter_table('enterprise', schema=None) as batch_op:
        batch_op.create_index('uq_enterprise_current', ['key'], unique=True, **CURRENT)

    op.create_table('figure',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('park', sa.String(length=64), nullable=True),
        sa.Column('period', sa.String(length=64), nullable=False),
        sa.Column('figure', sa.String(length=64), nullable=False),
        sa.Column('value', sa.Double(), nullable=False),
        sa.Column('unit', sa.String(length=64), nullable=True),
        sa.Column('product', sa.String(length=200), nullable=True),
        sa.Column('indicator', sa.String(length=200), nullable=True),
        sa.Column('line', sa.String(length=64), nullable=True),
        sa.Column('plant_status', sa.String(length=64), nullable=True),
        sa.Column('feedstock', sa.String(length=64), nullable=True),
        sa.Column('price_basis', sa.String(length=64), nullable=True),
        sa.Column('base_year', sa.Integer(), nullable=True),
        sa.Column('source', sa.String(length=500), nullable=True),
        sa.Column('parameters', sa.Text(), nullable=True),
        sa.Column('maker', sa.String(length=200), nullable=False),
        sa.Column('made_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('checker', sa.String(length=200), nullable=True),
        sa.Column('checked_at', sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_figure'))
    )
    with op.batch_alter_table('figure', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_figure_key'), ['key'], unique=False)

    op.create_table('gateway',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('gateway', sa.String(length=64), nullable=False),
        sa.Column('region', sa.String(length=64), nullable=False),
        sa.Column('name_zh', sa.String(length=200), nullable=True),
        sa.Column('name_en', sa.String(length=200), nullable=True),
        sa.Column('software', sa.String(length=200), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_gateway'))
    )
    with op.batch_alter_table('gateway', schema=None) as batch_op:
        batch_op.create_index('uq_gateway_current', ['key'], unique=True, **CURRENT)

    op.create_table('meter',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('meter', sa.String(length=64), nullable=False),
        sa.Column('gateway', sa.String(length=64), nullable=True),
        sa.Column('medium', sa.String(length=64), nullable=False),
        sa.Column('name_zh', sa.String(length=200), nullable=True),
        sa.Column('name_en', sa.String(length=200), nullable=True),
        sa.Column('site', sa.String(length=64), nullable=True),
        sa.Column('accuracy_class', sa.String(length=64), nullable=True),
        sa.Column('calibrated_on', sa.Date(), nullable=True),
        sa.Column('calibration_due', sa.Date(), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_meter'))
    )
    with op.batch_alter_table('meter', schema=None) as batch_op:
        batch_op.create_index('uq_meter_current', ['key'], unique=True, **CURRENT)

    op.create_table('outbox',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=1500), nullable=False),
        sa.Column('channel', sa.String(length=64), nullable=False),
        sa.Column('title_zh', sa.Text(), nullable=False),
        sa.Column('title_en', sa.Text(), nullable=False),
        sa.Column('body_zh', sa.Text(), nullable=False),
        sa.Column('body_en', sa.Text(), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('facts', sa.Text(), nullable=False),
        sa.Column('tries', sa.Integer(), nullable=False),
        sa.Column('next_try', sa.DateTime(timezone=True), nullable=True),
        sa.Column('delivered_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('error', sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_outbox')),
        sa.UniqueConstraint('channel', 'key', name=op.f('uq_outbox_channel'))
    )
    with op.batch_alter_table('outbox', schema=None) as batch_op:
        batch_op.create_index('ix_outbox_next_try', ['next_try'], unique=False)

    op.create_table('park',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('park', sa.String(length=64), nullable=False),
        sa.Column('region', sa.String(length=64), nullable=False),
        sa.Column('name_zh', sa.String(length=200), nullable=True),
        sa.Column('name_en', sa.String(length=200), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_park'))
    )
    with op.batch_alter_table('park', schema=None) as batch_op:
        batch_op.create_index('uq_park_current', ['key'], unique=True, **CURRENT)

    op.create_table('person',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('name', sa.String(length=200), nullable=False),
        sa.Column('password_hash', sa.String(length=500), nullable=False),
        sa.Column('roles', sa.Text(), nullable=False),
        sa.Column('parks', sa.Text(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_person')),
        sa.UniqueConstraint('name', name=op.f('uq_person_name'))
    )
    op.create_table('quarantine',
        sa.Column('message', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('index', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('kind', sa.String(length=64), nullable=False),
        sa.Column('reasons', sa.Text(), nullable=False),
        sa.Column('enterprise', sa.String(length=200), nullable=True),
        sa.Column('gateway', sa.String(length=200), nullable=True),
        sa.Column('meter', sa.String(length=200), nullable=True),
        sa.Column('register', sa.String(length=200), nullable=True),
        sa.Column('read_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('value', sa.Double(), nullable=True),
        sa.Column('unit', sa.String(length=200), nullable=True),
        sa.Column('raw', sa.LargeBinary(), nullable=True),
        sa.Column('topic', sa.Text(), nullable=True),
        sa.Column('received_at', sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint('message', 'index', name=op.f('pk_quarantine'))
    )
    op.create_table('region',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('region', sa.String(length=64), nullable=False),
        sa.Column('name_zh', sa.String(length=200), nullable=True),
        sa.Column('name_en', sa.String(length=200), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_region'))
    )
    with op.batch_alter_table('region', schema=None) as batch_op:
        batch_op.create_index('uq_region_current', ['key'], unique=True, **CURRENT)

    op.create_table('register_key',
        sa.Column('register_key', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('meter', sa.String(length=64), nullable=False),
        sa.Column('register', sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint('register_key', name=op.f('pk_register_key')),
        sa.UniqueConstraint('enterprise', 'meter', 'register', name=op.f('uq_register_key_enterprise'))
    )
    op.create_table('register_version',
        sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('version', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_register_version'))
    )
    op.create_table('site',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('site', sa.String(length=64), nullable=False),
        sa.Column('park', sa.String(length=64), nullable=False),
        sa.Column('name_zh', sa.String(length=200), nullable=True),
        sa.Column('name_en', sa.String(length=200), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_site'))
    )
    with op.batch_alter_table('site', schema=None) as batch_op:
        batch_op.create_index('uq_site_current', ['key'], unique=True, **CURRENT)

    op.create_table('token',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('name', sa.String(length=200), nullable=False),
        sa.Column('digest', sa.String(length=64), nullable=False),
        sa.Column('roles', sa.Text(), nullable=False),
        sa.Column('scopes', sa.Text(), nullable=False),
        sa.Column('parks', sa.Text(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_token')),
        sa.UniqueConstraint('digest', name=op.f('uq_token_digest')),
        sa.UniqueConstraint('name', name=op.f('uq_token_name'))
    )
    op.create_table('alert_history',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('alert', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('kind', sa.String(length=64), nullable=False),
        sa.Column('severity', sa.String(length=64), nullable=False),
        sa.Column('value', sa.Double(), nullable=False),
        sa.Column('bound', sa.Double(), nullable=False),
        sa.Column('period', sa.String(length=64), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('text_zh', sa.Text(), nullable=False),
        sa.Column('text_en', sa.Text(), nullable=False),
        sa.Column('facts', sa.Text(), nullable=False),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(['alert'], ['alert.id'], name=op.f('fk_alert_history_alert_alert')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_alert_history'))
    )
    with op.batch_alter_table('alert_history', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_alert_history_alert'), ['alert'], unique=False)

    op.create_table('assignment',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('register_key', sa.Integer(), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('meter', sa.String(length=64), nullable=False),
        sa.Column('register', sa.String(length=64), nullable=False),
        sa.Column('carrier', sa.String(length=64), nullable=False),
        sa.Column('flow', sa.String(length=64), nullable=False),
        sa.Column('use', sa.String(length=64), nullable=True),
        sa.Column('site', sa.String(length=64), nullable=True),
        sa.Column('process', sa.String(length=64), nullable=True),
        sa.Column('product', sa.String(length=64), nullable=True),
        sa.Column('share_ratio', sa.Double(), nullable=False),
        sa.Column('valid_from', sa.DateTime(timezone=True), nullable=True),
        sa.Column('valid_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(['register_key'], ['register_key.register_key'], name=op.f('fk_assignment_register_key_register_key')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_assignment'))
    )
    with op.batch_alter_table('assignment', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_assignment_register_key'), ['register_key'], unique=False)
        batch_op.create_index('uq_assignment_current', ['key'], unique=True, **CURRENT)

    op.create_table('case_history',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('case_file', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('state', sa.String(length=64), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('text_zh', sa.Text(), nullable=False),
        sa.Column('text_en', sa.Text(), nullable=False),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(['case_file'], ['case_file.id'], name=op.f('fk_case_history_case_file_case_file')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_case_history'))
    )
    with op.batch_alter_table('case_history', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_case_history_case_file'), ['case_file'], unique=False)

    op.create_table('event',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('register_key', sa.Integer(), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('meter', sa.String(length=64), nullable=False),
        sa.Column('register', sa.String(length=64), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('event', sa.String(length=64), nullable=False),
        sa.Column('closing_value', sa.Double(), nullable=True),
        sa.Column('opening_value', sa.Double(), nullable=True),
        sa.Column('multiplier', sa.Double(), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(['register_key'], ['register_key.register_key'], name=op.f('fk_event_register_key_register_key')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_event'))
    )
    with op.batch_alter_table('event', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_event_register_key'), ['register_key'], unique=False)
        batch_op.create_index('uq_event_current', ['key'], unique=True, **CURRENT)

    op.create_table('register',
        sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        sa.Column('key', sa.String(length=500), nullable=False),
        sa.Column('register_key', sa.Integer(), nullable=False),
        sa.Column('enterprise', sa.String(length=64), nullable=False),
        sa.Column('meter', sa.String(length=64), nullable=False),
        sa.Column('register', sa.String(length=64), nullable=False),
        sa.Column('unit', sa.String(length=64), nullable=False),
        sa.Column('kind', sa.String(length=64), nullable=False),
        sa.Column('stamp', sa.String(length=64), nullable=False),
        sa.Column('modulus', sa.Double(), nullable=True),
        sa.Column('range_low', sa.Double(), nullable=True),
        sa.Column('range_high', sa.Double(), nullable=True),
        sa.Column('max_rate_per_h', sa.Double(), nullable=True),
        sa.Column('multiplier', sa.Double(), nullable=False),
        sa.Column('resolution', sa.Double(), nullable=True),
        sa.Column('net', sa.Boolean(), nullable=False),
        sa.Column('valid_from', sa.DateTime(timezone=True), nullable=True),
        sa.Column('valid_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('known_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('known_to', sa.DateTime(timezone=True), nullable=True),
        sa.Column('recorded_by', sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(['register_key'], ['register_key.register_key'], name=op.f('fk_register_register_key_register_key')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_register'))
    )
    with op.batch_alter_table('register', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_register_register_key'), ['register_key'], unique=False)
        batch_op.create_index('uq_register_current', ['key'], unique=True, **CURRENT)

    op.execute("INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, '')")
    op.execute("INSERT INTO register_version (id, version) VALUES (1, 0)")
