"""Of an entry the journal keeps which processes may die of it, by name, so that each can take that back.

Revision ID: 0009
Revises: 0008
Create Date: 2026-11-26 13:10:00
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """`attempts` stays: what an older release has counted are deaths of processes without names."""
    op.execute("""
        alter table mailbox_entries
            add column marks jsonb not null default '{}',
            add column appended_by text not null default ''
    """)


def downgrade() -> None:
    """As many deaths as there are marks: the older release counts them, without the first."""
    op.execute("""
        update mailbox_entries set attempts = attempts + (
            select count(*) from jsonb_each_text(marks) as mark (process, said) where said::bigint > 0
        )
    """)
    op.execute("alter table mailbox_entries drop column marks, drop column appended_by")
