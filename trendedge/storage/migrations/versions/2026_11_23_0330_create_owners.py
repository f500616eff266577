"""Who owns which mailbox's mail, with the epoch that fences whoever owned it before."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        create table mailbox_owners (
            mailbox      text not null,
            node         text not null,
            epoch        bigint not null,
            -- Of the entries in this database; those in Redis have a lease there.
            lease_until  timestamptz,
            taken_at     timestamptz not null default now(),
            primary key (mailbox, node)
        )
    """)
    op.execute("""
        insert into mailbox_owners (mailbox, node, epoch, lease_until)
        select distinct entry.mailbox, entry.node, 0, old.lease_until
        from mailbox_entries as entry left join mailbox_nodes as old on old.node = entry.node
    """)
    op.execute("drop table mailbox_nodes")


def downgrade() -> None:
    op.execute("""
        create table mailbox_nodes (
            node         text primary key,
            lease_until  timestamptz not null
        )
    """)
    op.execute("drop table mailbox_owners")
