"""An adopted entry keeps which node has sent it: stamps of different nodes are of different clocks.

Revision ID: 0010
Revises: 0009
Create Date: 2026-11-26 13:30:00
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Null is the node that has the entry."""
    op.execute("alter table mailbox_entries add column sent_by text")


def downgrade() -> None:
    """The entries stay; what was adopted counts as sent by whoever has it."""
    op.execute("alter table mailbox_entries drop column sent_by")
