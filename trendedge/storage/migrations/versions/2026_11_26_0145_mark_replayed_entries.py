"""Of an entry that was a dead letter the journal keeps that."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table mailbox_entries add column replayed boolean not null default false")


def downgrade() -> None:
    op.execute("alter table mailbox_entries drop column replayed")
