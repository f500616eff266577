"""Entries keep when they were sent, so that those of both stores can be put in order.

Revision ID: 0008
Revises: 0007
Create Date: 2026-11-26 10:40:00
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """0 is unknown: an entry that an older release has appended."""
    op.execute("alter table mailbox_entries add column sent_us bigint not null default 0")


def downgrade() -> None:
    """The entries stay, in an order that is known within each store only."""
    op.execute("alter table mailbox_entries drop column sent_us")
