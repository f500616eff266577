"""What operators do: the kill switch, and the record of every act."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        create table audit_log (
            id          uuid primary key default gen_random_uuid(),
            at          timestamptz not null default now(),
            who         text not null,
            action      text not null,
            target      text,
            parameters  jsonb not null default '{}',
            address     text not null,
            request_id  text not null,
            -- 'begun' is written before the act. It stays where the process died over it, or the store before it could
            -- be told the end.
            outcome     text not null default 'begun' check (outcome in ('begun', 'done', 'refused', 'failed')),
            status      integer,
            ended_at    timestamptz
        )
    """)
    op.execute("create index audit_log_at_idx on audit_log (at, id)")
    op.execute("""
        create table trading_halt (
            -- One row, there from the beginning.
            only_row  boolean primary key default true check (only_row),
            halted    boolean not null default false,
            reason    text,
            who       text,
            since     timestamptz not null default now()
        )
    """)
    op.execute("insert into trading_halt default values")


def downgrade() -> None:
    op.execute("drop table trading_halt")
    op.execute("drop table audit_log")
