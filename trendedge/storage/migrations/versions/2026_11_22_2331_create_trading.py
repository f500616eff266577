"""What an alert becomes: signals, orders, fills, trades, positions, the journal, the rollup and the events.

`user_id` is repeated in each table so that every read is scoped by one indexed column; the foreign keys on
(account_id, user_id) keep the copies true.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        create table signals (
            id           uuid primary key,
            user_id      uuid not null,
            account_id   uuid not null,
            received_at  timestamptz not null,
            status       text not null
                check (status in ('accepted', 'filled', 'working', 'rejected', 'quarantined', 'dead')),
            action       text not null,
            symbol       text not null,
            root         text not null,
            order_type   text not null,
            quantity     numeric,
            price        numeric,
            limit_price  numeric,
            stop_price   numeric,
            playbook_id  text,
            dialect      text not null,
            sent_at      timestamptz,
            sender_id    text,
            request_id   text,
            raw          text not null,
            repairs      jsonb not null,
            contract     jsonb,
            checks       jsonb not null,
            rejection    jsonb,
            timings_ms   jsonb not null,
            created_at   timestamptz not null default now(),
            foreign key (account_id, user_id) references accounts (id, user_id) on delete cascade
        )
    """)
    op.execute("create index signals_user_idx on signals (user_id, received_at, id)")
    op.execute("create index signals_root_idx on signals (user_id, root, received_at, id)")
    op.execute("create index signals_account_idx on signals (account_id)")
    op.execute("""
        create table signal_marks (
            mark       text primary key,
            signal_id  text not null,
            marked_at  timestamptz not null
        )
    """)
    op.execute("create index signal_marks_age_idx on signal_marks using brin (marked_at)")
    op.execute("""
        create table orders (
            id               uuid primary key,
            signal_id        uuid not null references signals on delete cascade,
            user_id          uuid not null,
            account_id       uuid not null,
            symbol           text not null,
            root             text not null,
            side             text not null check (side in ('buy', 'sell')),
            type             text not null,
            quantity         numeric not null check (quantity > 0),
            limit_price      numeric,
            stop_price       numeric,
            status           text not null,
            client_order_id  text not null unique,
            created_at       timestamptz not null
        )
    """)
    op.execute("create index orders_user_idx on orders (user_id, created_at, id)")
    op.execute("create index orders_signal_idx on orders (signal_id)")
    op.execute("""
        create table trades (
            id              uuid primary key,
            signal_id       uuid not null references signals on delete cascade,
            user_id         uuid not null,
            account_id      uuid not null,
            symbol          text not null,
            root            text not null,
            direction       text not null check (direction in ('long', 'short')),
            status          text not null check (status in ('open', 'closed')),
            quantity        numeric not null,
            entry_value     numeric not null,
            entry_price     numeric not null,
            exit_quantity   numeric not null,
            exit_value      numeric not null,
            exit_price      numeric,
            gross_pnl       numeric not null,
            commission      numeric not null,
            pnl             numeric not null,
            r_multiple      numeric,
            mae             numeric,
            mfe             numeric,
            playbook_id     text,
            -- The trade as clients read it, in JSON. A page of trades is read far more often than one is written, and
            -- making the text anew from rows costs four times as much as fetching it. Its fills have texts of their
            -- own: kept here, each fill of a position that is long in and out of the market would rewrite all others.
            document        text not null,
            opened_at       timestamptz not null,
            closed_at       timestamptz,
            updated_at      timestamptz not null default now(),
            foreign key (account_id, user_id) references accounts (id, user_id) on delete cascade
        ) with (fillfactor = 80)
    """)
    op.execute("create index trades_user_idx on trades (user_id, opened_at, id)")
    op.execute("create unique index trades_open_key on trades (account_id, symbol) where status = 'open'")
    op.execute("create index trades_signal_idx on trades (signal_id)")
    op.execute("""
        create table fills (
            id          uuid primary key,
            order_id    uuid not null references orders on delete cascade,
            trade_id    uuid not null references trades on delete cascade,
            user_id     uuid not null,
            side        text not null check (side in ('buy', 'sell')),
            price       numeric not null,
            quantity    numeric not null check (quantity > 0),
            commission  numeric not null,
            at          timestamptz not null,
            document    text not null
        )
    """)
    op.execute("create index fills_order_idx on fills (order_id)")
    op.execute("create index fills_trade_idx on fills (trade_id, at, id)")
    op.execute("""
        create table positions (
            account_id     uuid not null,
            symbol         text not null,
            user_id        uuid not null,
            root           text not null,
            quantity       numeric not null,
            cost_usd       numeric not null,
            average_price  numeric not null,
            realized_pnl   numeric not null,
            updated_at     timestamptz not null default now(),
            primary key (account_id, symbol),
            foreign key (account_id, user_id) references accounts (id, user_id) on delete cascade
        ) with (fillfactor = 70)
    """)
    op.execute("create index positions_user_idx on positions (user_id)")
    op.execute("""
        create table journal_entries (
            id          uuid primary key,
            user_id     uuid not null,
            account_id  uuid not null,
            signal_id   uuid not null references signals on delete cascade,
            trade_id    uuid,
            kind        text not null,
            text        text not null,
            at          timestamptz not null
        )
    """)
    op.execute("create index journal_entries_user_idx on journal_entries (user_id, at, id)")
    op.execute("create index journal_entries_signal_idx on journal_entries (signal_id)")
    op.execute("""
        create table analytics_daily (
            account_id     uuid not null,
            day            date not null,
            root           text not null,
            user_id        uuid not null,
            trades         integer not null default 0,
            wins           integer not null default 0,
            losses         integer not null default 0,
            contracts      integer not null default 0,
            gross_pnl      numeric not null default 0,
            commission     numeric not null default 0,
            updated_at     timestamptz not null default now(),
            primary key (account_id, day, root),
            foreign key (account_id, user_id) references accounts (id, user_id) on delete cascade
        ) with (fillfactor = 70)
    """)
    op.execute("""
        create table events (
            user_id   uuid not null references users on delete cascade,
            seq       bigint not null,
            id        uuid not null unique,
            channel   text not null,
            type      text not null,
            data      jsonb not null,
            at        timestamptz not null,
            primary key (user_id, seq)
        )
    """)


def downgrade() -> None:
    for table in (
        "events",
        "analytics_daily",
        "journal_entries",
        "positions",
        "fills",
        "trades",
        "orders",
        "signal_marks",
        "signals",
    ):
        op.execute(f"drop table {table}")
