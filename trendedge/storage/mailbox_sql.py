"""The statements of the journal in PostgreSQL."""

# Each statement on behalf of an owner begins with its mailbox, node and epoch, and answers whether it (still) is one.
_OWNER = "owner as (select from mailbox_owners where mailbox = $1 and node = $2 and epoch = $3)"
_OWNED = "select exists (select from owner) as owned"
# What is unique is a mark with its value: the same once more is an append whose answer was lost.
APPEND = f"""
    with {_OWNER}, taken as (
        insert into signal_marks as held (mark, signal_id, marked_at)
        select $5::text, $6::text, now() from owner where $5 is not null
        on conflict (mark) do update set
            signal_id = excluded.signal_id,
            marked_at = case when held.signal_id = excluded.signal_id then held.marked_at else excluded.marked_at end
        where held.signal_id = excluded.signal_id
            or abs(extract(epoch from excluded.marked_at - held.marked_at)) >= $7::int
        returning mark
    ), lease as (
        update mailbox_owners set lease_until = now() + make_interval(secs => $8::float)
        where mailbox = $1 and node = $2 and epoch = $3 and $8::float > 0
    ), entry as (
        insert into mailbox_entries (mailbox, node, payload, unique_value, sent_us, appended_by)
        select $1, $2, $4, $5 || chr(10) || $6, $9, $10 from owner where $5 is null or exists (select from taken)
        on conflict (mailbox, unique_value) do update set node = excluded.node
        returning id, created_at
    )
    {_OWNED}, entry.id, entry.created_at from (values (1)) as one left join entry on true
"""  # noqa: S608 - made of constants
MARK = "select signal_id from signal_marks where mark = $1"
# What a process says of its mark on an entry: a number, negative when it takes that back. What comes late says nothing.
_MARK = """
        update mailbox_entries set marks = marks || jsonb_build_object($6::text, $7::bigint)
        where mailbox = $1 and node = $2 and id = any($5::bigint[]) and exists (select from owner)
            and abs(coalesce((marks->>$6)::bigint, 0)) < abs($7::bigint)
"""
SETTLE = f"""
    with {_OWNER}, gone as (
        delete from mailbox_entries
        where mailbox = $1 and node = $2 and id = any($4::bigint[]) and exists (select from owner)
    ), begun as ({_MARK}) {_OWNED}
"""  # noqa: S608 - made of constants
BURY = f"""
    with {_OWNER}, gone as (
        delete from mailbox_entries where mailbox = $1 and node = $2 and id = $4 and exists (select from owner)
        returning mailbox
    ), buried as (
        insert into dead_letters (mailbox, payload, cause, traceback, attempts, facts)
        select mailbox, $5, $6, $7, $8, $9 from gone
    ) {_OWNED}
"""  # noqa: S608 - made of constants
# The others that own entries and no lease, with whether it was given up or taken; ourselves, when we are fenced.
LOOK = """
    select entry.node, owner.epoch, lease_until is null as given_up
    from (select distinct node from mailbox_entries where mailbox = $1) as entry
    join mailbox_owners as owner on owner.mailbox = $1 and owner.node = entry.node
    where entry.node <> $2 and (lease_until is null or lease_until <= now())
    union all
    select node, epoch, true from mailbox_owners where mailbox = $1 and node = $2 and epoch <> $3
"""
# From a node that is fenced still: one with a new epoch has come back, and reads its mail. Who comes back while this
# runs waits for the row, and reads what is left. And to one that is not fenced meanwhile: its own mail may have been
# adopted a moment before.
# The ids as one value: a row for each would be twice as long on the wire.
ADOPT = """
    with theirs as (
        select from mailbox_owners
        where mailbox = $1 and node = $4 and epoch = $5::bigint + 1 and lease_until is null
        for update
    ), us as (
        select from mailbox_owners
        where mailbox = $1 and node = $2 and epoch = $3 and exists (select from theirs)
        for key share
    ), moved as (
        update mailbox_entries set node = $2, sent_by = coalesce(sent_by, node) where mailbox = $1 and node = $4
            and exists (select from us)
        returning id
    )
    select coalesce(array_agg(id), '{}') from moved
"""
# Without the payloads: most of it may be known. By id, not by time: clocks are set back.
LIST = """
    select id, octet_length(payload) as length, now(), extract(epoch from now() - created_at)::float as age_s
    from mailbox_entries where mailbox = $1 and node = $2 and id > $3 order by id limit $4
"""
# Who appended an entry has marked it by that, and has said more of it or not. In `attempts` is how many deaths an
# earlier release has counted, without names.
READ = """
    select id, payload, replayed, created_at, sent_us, coalesce(sent_by, node) as sent_by,
        attempts + (
            select count(*) from jsonb_each_text(marks) as mark (process, said)
            where process <> $4 and said::bigint > 0
        ) as attempts,
        appended_by <> $4 and not marks ? appended_by as first_open
    from mailbox_entries where mailbox = $1 and node = $2 and id = any($3::bigint[]) order by id
"""
COUNT = """
    select (select count(*) from mailbox_entries where mailbox = $1 and node = $2) as pending,
        (select count(*) from dead_letters where mailbox = $1) as dead
"""
# Ids tell milliseconds, as those of Redis do, so that is what letters are put in order by.
_BURIED_AT = "date_trunc('milliseconds', buried_at)"
_LETTER = f"select id, payload, cause, traceback, attempts, facts, {_BURIED_AT} as created_at from dead_letters"  # noqa: S608 - made of constants
DEAD_LETTERS = f"""
    {_LETTER} where mailbox = $1 and ($2::timestamptz is null or ({_BURIED_AT}, id) < ($2, $3::bigint))
    order by {_BURIED_AT} desc, id desc limit $4
"""
_THIS_ONE = f"mailbox = $1 and {_BURIED_AT} = $2::timestamptz and id = $3::bigint"
DEAD_LETTER = f"{_LETTER} where {_THIS_ONE}"
DISCARD = f"delete from dead_letters where {_THIS_ONE}"  # noqa: S608 - made of constants
REPLAY = f"""
    with {_OWNER}, taken as (
        delete from dead_letters
        where mailbox = $1 and {_BURIED_AT} = $4::timestamptz and id = $5::bigint and exists (select from owner)
        returning payload
    ), lease as (
        update mailbox_owners set lease_until = now() + make_interval(secs => $6::float)
        from taken where mailbox_owners.mailbox = $1 and node = $2 and epoch = $3
    ), entry as (
        insert into mailbox_entries (mailbox, node, payload, replayed, sent_us, appended_by)
        select $1, $2, payload, true, $7, $8 from taken
        returning id, payload, created_at
    )
    {_OWNED}, entry.id, entry.payload, entry.created_at from (values (1)) as one left join entry on true
"""  # noqa: S608 - made of constants
RELEASE = """
    update mailbox_owners set lease_until = null where mailbox = $1 and node = $2 and epoch = $3 returning true
"""
RENEW = """
    update mailbox_owners set lease_until = now() + make_interval(secs => $4::float)
    where mailbox = $1 and node = $2 and epoch = $3
    returning true
"""
