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
    """A change of the epoch waits for whoever holds the row FOR KEY SHARE now, of whichever release. Of two who insert
    a row at once one takes the other's: a constraint that is not deferrable would be broken before that.

    `heir_until` is written by the release before alone, which may still run: it goes with a later one.
    """
    op.execute(
        "alter table mailbox_owners add constraint mailbox_owners_epoch unique (mailbox, node, epoch) deferrable"
    )


def downgrade() -> None:
    """Commits of the release before hold the row FOR SHARE, for which no key is needed, and its claims have a time. To
    be done when no process of this one runs."""
    op.execute("alter table mailbox_owners drop constraint mailbox_owners_epoch")
    op.execute("update mailbox_owners set heir_until = now() where heir is not null and heir_until is null")
