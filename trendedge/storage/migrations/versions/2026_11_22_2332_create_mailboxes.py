"""The journal of durable mailboxes, for the time when Redis is down."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        create table mailbox_entries (
            id            bigint generated always as identity primary key,
            mailbox       text not null,
            node          text not null,
            payload       bytea not null,
            unique_value  text,
            attempts      integer not null default 0,
            created_at    timestamptz not null default now()
        )
    """)
    op.execute("create index mailbox_entries_owner_idx on mailbox_entries (mailbox, node, id)")
    # Appending again after a lost reply finds the first entry instead of making a second.
    op.execute("create unique index mailbox_entries_unique_key on mailbox_entries (mailbox, unique_value)")
    op.execute("""
        create table mailbox_nodes (
            node         text primary key,
            lease_until  timestamptz not null
        )
    """)
    op.execute("""
        create table dead_letters (
            id         bigint generated always as identity primary key,
            mailbox    text not null,
            payload    bytea not null,
            cause      text not null,
            traceback  text not null,
            attempts   integer not null,
            facts      jsonb not null,
            buried_at  timestamptz not null default now()
        )
    """)
    op.execute("create index dead_letters_mailbox_idx on dead_letters (mailbox, id)")


def downgrade() -> None:
    op.execute("drop table dead_letters")
    op.execute("drop table mailbox_nodes")
    op.execute("drop table mailbox_entries")
