"""What runs by the clock: when it was due last; and an index by which old marks are found."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        create table schedule_fires (
            schedule  text primary key,
            due_at    timestamptz not null
        )
    """)
    # A block range index is good for a table that only grows. Once old rows are removed, new ones take their places
    # all over it, and each range holds every age.
    op.execute("create index signal_marks_marked_at_idx on signal_marks (marked_at)")
    op.execute("drop index signal_marks_age_idx")


def downgrade() -> None:
    op.execute("create index signal_marks_age_idx on signal_marks using brin (marked_at)")
    op.execute("drop index signal_marks_marked_at_idx")
    op.execute("drop table schedule_fires")
