"""An epoch is part of a key, so that a commit, which proves it, keeps nobody from renewing a lease meanwhile.

Revision ID: 0012
Revises: 0011
Create Date: 2026-11-26 21:10:00
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A change of the epoch waits for whoever holds the row FOR KEY SHARE now. `heir_until` says nothing any more: a
    process of the release before writes it while it is replaced, so it stays for that long."""
    op.execute("create unique index mailbox_owners_epoch on mailbox_owners (mailbox, node, epoch)")


def downgrade() -> None:
    """Commits of the release before hold the row FOR SHARE, for which no key is needed."""
    op.execute("drop index mailbox_owners_epoch")
