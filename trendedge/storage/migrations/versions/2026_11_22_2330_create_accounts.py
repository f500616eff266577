"""Users, their accounts and their webhook keys."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        create table users (
            id          uuid primary key default gen_random_uuid(),
            email       text,
            role        text not null default 'user' check (role in ('user', 'operator')),
            -- Number of the user's newest event. Counted here, under a row lock, so that a user's events become
            -- visible in the order of their numbers: a sequence would let a later one be seen first.
            event_seq   bigint not null default 0,
            created_at  timestamptz not null default now(),
            updated_at  timestamptz not null default now()
        ) with (fillfactor = 70)
    """)
    op.execute("create unique index users_email_key on users (lower(email))")
    op.execute("""
        create table accounts (
            id                uuid primary key default gen_random_uuid(),
            user_id           uuid not null references users on delete cascade,
            name              text not null check (name <> ''),
            mode              text not null default 'paper' check (mode in ('paper', 'live')),
            broker            text not null default 'paper',
            currency          text not null default 'USD',
            starting_equity   numeric not null default 100000,
            default_quantity  integer not null default 1 check (default_quantity > 0),
            slippage_ticks    integer not null default 0 check (slippage_ticks >= 0),
            commission        numeric not null default 0 check (commission >= 0),
            any_hour          boolean not null default false,
            halted            boolean not null default false,
            is_default        boolean not null default false,
            realized_pnl      numeric not null default 0,
            commissions       numeric not null default 0,
            -- The fence: every change of the book counts it up, and is refused when it no longer is what the book
            -- was loaded with.
            version           bigint not null default 0,
            created_at        timestamptz not null default now(),
            updated_at        timestamptz not null default now(),
            unique (id, user_id)
        ) with (fillfactor = 70)
    """)
    op.execute("create unique index accounts_name_key on accounts (user_id, lower(name))")
    op.execute("create unique index accounts_default_key on accounts (user_id) where is_default")
    op.execute("""
        create table api_keys (
            id          uuid primary key default gen_random_uuid(),
            user_id     uuid not null references users on delete cascade,
            name        text not null,
            key_hash    bytea not null unique check (length(key_hash) = 32),
            hint        text not null,
            created_at  timestamptz not null default now(),
            revoked_at  timestamptz
        )
    """)
    op.execute("create index api_keys_user_idx on api_keys (user_id)")


def downgrade() -> None:
    op.execute("drop table api_keys")
    op.execute("drop table accounts")
    op.execute("drop table users")
