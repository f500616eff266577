"""The statement that commits an execution: one round trip, one transaction, all or nothing.

All parts of a statement see the database as it was when the statement began, and none sees what another has written.
So nothing here reads what it wrote; instead each part depends on rows that an earlier one returns:

    fence   the account's row, locked, if it still has the version that the decision was made on. Whoever comes second
            waits here for the first, and PostgreSQL then looks at the version again: it has changed, so no row.
    mark    the dedup mark, if nobody else had it within the last minute, or is ours already (redelivery)
    owner   the right to commit at all: the epoch of the process that has the message in hand. Locked until the end, so
            that whoever fences the process waits for this statement, or this statement sees the fence.
    gate    the signal, inserted. Everything else joins it: no gate, no rows, and the statement has changed nothing.

A signal that has its outcome already (`known`) stops all of it, so a redelivery changes nothing either. One that is
stored as `accepted` has none: its death was taken back, to replay it. Of several commits that wait for the account's
row one finds it so.
"""

COMMIT = """
with known as (
    select from signals where id = $1 and status <> 'accepted'
), owner as (
    select from mailbox_owners where mailbox = $9 and node = $10 and epoch = $11
    for key share
), fence as (
    select id, user_id from accounts
    where id = $3 and user_id = $2 and version = $4 and not exists (select from known) and exists (select from owner)
    for no key update
), mark as (
    insert into signal_marks as held (mark, signal_id, marked_at)
    select $5::text, $1::uuid::text, $6::timestamptz from fence where $5 is not null
    on conflict (mark) do update set
        signal_id = excluded.signal_id,
        marked_at = case when held.signal_id = excluded.signal_id then held.marked_at else excluded.marked_at end
    where held.signal_id = excluded.signal_id
        or abs(extract(epoch from excluded.marked_at - held.marked_at)) >= $7::int
    returning mark
), gate as (
    insert into signals (
        id, user_id, account_id, received_at, status, action, symbol, root, order_type, quantity, price, limit_price,
        stop_price, playbook_id, dialect, sent_at, sender_id, request_id, raw, repairs, contract, checks, rejection,
        timings_ms
    )
    select $1, fence.user_id, fence.id, $6, x.status, x.action, x.symbol, x.root, x.order_type, x.quantity, x.price,
        x.limit_price, x.stop_price, x.playbook_id, x.dialect, x.sent_at, x.sender_id, x.request_id, x.raw, x.repairs,
        x.contract, x.checks, x.rejection, x.timings_ms
    from fence, jsonb_to_record($8::jsonb -> 'signal') as x (
        status text, action text, symbol text, root text, order_type text, quantity numeric, price numeric,
        limit_price numeric, stop_price numeric, playbook_id text, dialect text, sent_at timestamptz, sender_id text,
        request_id text, raw text, repairs jsonb, contract jsonb, checks jsonb, rejection jsonb, timings_ms jsonb
    )
    where $5 is null or exists (select from mark)
    on conflict (id) do update set
        status = excluded.status, symbol = excluded.symbol, root = excluded.root, quantity = excluded.quantity,
        price = excluded.price, request_id = excluded.request_id, raw = excluded.raw, repairs = excluded.repairs,
        contract = excluded.contract, checks = excluded.checks, rejection = excluded.rejection,
        timings_ms = excluded.timings_ms
    where signals.status = 'accepted'
    returning id, user_id, account_id
), account as (
    update accounts set version = x.version, realized_pnl = x.realized_pnl, commissions = x.commissions,
        updated_at = now()
    from gate, jsonb_to_record($8 -> 'account') as x (version bigint, realized_pnl numeric, commissions numeric)
    where accounts.id = gate.account_id and x.version <> $4
), placed as (
    insert into orders (
        id, signal_id, user_id, account_id, symbol, root, side, type, quantity, limit_price, stop_price, status,
        client_order_id, created_at
    )
    select x.id, gate.id, gate.user_id, gate.account_id, x.symbol, x.root, x.side, x.type, x.quantity, x.limit_price,
        x.stop_price, x.status, x.client_order_id, x.created_at
    from gate, jsonb_to_recordset($8 -> 'orders') as x (
        id uuid, symbol text, root text, side text, type text, quantity numeric, limit_price numeric,
        stop_price numeric, status text, client_order_id text, created_at timestamptz
    )
), filled as (
    insert into fills (id, order_id, trade_id, user_id, side, price, quantity, commission, at, document)
    select x.id, x.order_id, x.trade_id, gate.user_id, x.side, x.price, x.quantity, x.commission, x.at, x.document
    from gate, jsonb_to_recordset($8 -> 'fills') as x (
        id uuid, order_id uuid, trade_id uuid, side text, price numeric, quantity numeric, commission numeric,
        at timestamptz, document text
    )
), traded as (
    insert into trades as held (
        id, signal_id, user_id, account_id, symbol, root, direction, status, quantity, entry_value, entry_price,
        exit_quantity, exit_value, exit_price, gross_pnl, commission, pnl, r_multiple, mae, mfe, playbook_id, document,
        opened_at, closed_at
    )
    select x.id, x.signal_id, gate.user_id, gate.account_id, x.symbol, x.root, x.direction, x.status, x.quantity,
        x.entry_value, x.entry_price, x.exit_quantity, x.exit_value, x.exit_price, x.gross_pnl, x.commission, x.pnl,
        x.r_multiple, x.mae, x.mfe, x.playbook_id, x.document, x.opened_at, x.closed_at
    from gate, jsonb_to_recordset($8 -> 'trades') as x (
        id uuid, signal_id uuid, symbol text, root text, direction text, status text, quantity numeric,
        entry_value numeric, entry_price numeric, exit_quantity numeric, exit_value numeric, exit_price numeric,
        gross_pnl numeric, commission numeric, pnl numeric, r_multiple numeric, mae numeric, mfe numeric,
        playbook_id text, document text, opened_at timestamptz, closed_at timestamptz
    )
    -- 'closed' before 'open': an account has one open trade of a contract, also between two rows of a reverse.
    order by x.status
    on conflict (id) do update set
        status = excluded.status, quantity = excluded.quantity, entry_value = excluded.entry_value,
        entry_price = excluded.entry_price, exit_quantity = excluded.exit_quantity,
        exit_value = excluded.exit_value, exit_price = excluded.exit_price, gross_pnl = excluded.gross_pnl,
        commission = excluded.commission, pnl = excluded.pnl, r_multiple = excluded.r_multiple, mae = excluded.mae,
        mfe = excluded.mfe, closed_at = excluded.closed_at, updated_at = now(), document = excluded.document
), positioned as (
    insert into positions (account_id, symbol, user_id, root, quantity, cost_usd, average_price, realized_pnl)
    select gate.account_id, x.symbol, gate.user_id, x.root, x.quantity, x.cost_usd, x.average_price, x.realized_pnl
    from gate, jsonb_to_recordset($8 -> 'positions') as x (
        symbol text, root text, quantity numeric, cost_usd numeric, average_price numeric, realized_pnl numeric
    )
    on conflict (account_id, symbol) do update set
        quantity = excluded.quantity, cost_usd = excluded.cost_usd, average_price = excluded.average_price,
        realized_pnl = excluded.realized_pnl, updated_at = now()
), journalled as (
    insert into journal_entries (id, user_id, account_id, signal_id, trade_id, kind, text, at)
    select x.id, gate.user_id, gate.account_id, gate.id, x.trade_id, x.kind, x.text, x.at
    from gate, jsonb_to_recordset($8 -> 'journal') as x (
        id uuid, trade_id uuid, kind text, text text, at timestamptz
    )
), rolled_up as (
    insert into analytics_daily as held (
        account_id, day, root, user_id, trades, wins, losses, contracts, gross_pnl, commission
    )
    select gate.account_id, x.day, x.root, gate.user_id, x.trades, x.wins, x.losses, x.contracts, x.gross_pnl,
        x.commission
    from gate, jsonb_to_recordset($8 -> 'rollup') as x (
        day date, root text, trades int, wins int, losses int, contracts int, gross_pnl numeric, commission numeric
    )
    on conflict (account_id, day, root) do update set
        trades = held.trades + excluded.trades, wins = held.wins + excluded.wins,
        losses = held.losses + excluded.losses, contracts = held.contracts + excluded.contracts,
        gross_pnl = held.gross_pnl + excluded.gross_pnl, commission = held.commission + excluded.commission,
        updated_at = now()
), numbered as (
    update users set event_seq = event_seq + jsonb_array_length($8 -> 'events')
    from gate where users.id = gate.user_id and jsonb_array_length($8 -> 'events') > 0
    returning users.id as user_id, event_seq - jsonb_array_length($8 -> 'events') as before
), told as (
    insert into events (user_id, seq, id, channel, type, data, at)
    select numbered.user_id, numbered.before + x.place, x.id, x.channel, x.type, x.data, x.at
    from numbered, rows from (
        jsonb_to_recordset($8 -> 'events') as (id uuid, channel text, type text, data jsonb, at timestamptz)
    ) with ordinality as x (id, channel, type, data, at, place)
)
select
    exists (select from gate) as committed,
    exists (select from known) as known,
    exists (select from owner) as owned,
    exists (select from fence) as fenced,
    exists (select from accounts where id = $3 and user_id = $2) as account_exists,
    (select signal_id from signal_marks where mark = $5) as holder
"""

WHY_NOT = """
    select exists (select from signals where id = $1 and status <> 'accepted') as known, true as account_exists,
        (select signal_id from signal_marks where mark = $2) as holder
"""

REOPEN = """
with owner as (
    select from mailbox_owners where mailbox = $2 and node = $3 and epoch = $4
    for key share
), reopened as (
    update signals set status = 'accepted', rejection = null, checks = '[]', timings_ms = '{}'
    where id = $1 and status = 'dead' and exists (select from owner)
    returning id
)
select exists (select from owner) as owned, exists (select from reopened) as reopened
"""

OUTCOME = """
    select (select status from signals where id = $1) as status,
        (
            select signal_id from signal_marks
            where mark = $2 and signal_id <> $1::uuid::text
                and abs(extract(epoch from $3::timestamptz - marked_at)) < $4::int
        ) as first_id
"""
