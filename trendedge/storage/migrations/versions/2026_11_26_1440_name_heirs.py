"""Who adopts the mail of a dead node says so, lest two that look at once take one store each.

Revision ID: 0011
Revises: 0010
Create Date: 2026-11-26 14:40:00
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody adopts yet."""
    op.execute("alter table mailbox_owners add column heir text, add column heir_until timestamptz")


def downgrade() -> None:
    """Whoever looks adopts, as before."""
    op.execute("alter table mailbox_owners drop column heir, drop column heir_until")
