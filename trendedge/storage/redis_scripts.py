"""What the Redis journal does in one step each. Every key is passed in KEYS; none is made up inside.

A stream holds entries {p: payload, s: stamp, m: who appended it} and, when adopted from another node, as o the id that
it had at first, and as n that node. A dedup mark holds the value of whoever took it and the id of its entry, on two
lines.

Who may die of an entry is in a hash beside the stream, which the normal way of a message does not touch. Its field
`<id>m` is JSON: by process the number of what it said last of its mark, negative when it has taken that back. Its field
`<id>` is how many deaths an earlier release has counted, without names. Who has appended the entry has marked it by
that, with number 1.

The hash of owners names each node whose stream has entries, and no other, with its epoch and the end of its lease in
milliseconds of the server's clock, as `epoch:end`. So one command finds all that can be adopted, and nothing is done
to a node without mail. Nothing trims a stream: an entry leaves it when it is settled, buried or adopted.

Scripts on behalf of an owner begin with the same check: its epoch (ARGV[1]) against the lowest one that may still act
(KEYS[1]), which is written by whoever fences it. That key is the second line: what counts is the epoch in PostgreSQL.
"""

from trendedge.storage.redis import Script

FENCED = "FENCED"
"""Begins the answer to an owner that is none any more: it changed nothing."""
FENCE_TTL_S = 86_400
"""A process that was away for longer is told so by PostgreSQL alone."""

_OWNED = f"""
local valid_from = redis.call('GET', KEYS[1])
if valid_from and tonumber(valid_from) > tonumber(ARGV[1]) then
    return redis.error_reply('{FENCED} valid from epoch ' .. valid_from)
end
"""
_CLOCK = """
local function now_ms()
    local clock = redis.call('TIME')
    return clock[1] * 1000 + math.floor(clock[2] / 1000)
end
"""
_LEASE = (
    _CLOCK
    + """
local function renew(owners, node, epoch, lease_ms)
    redis.call('HSET', owners, node, epoch .. ':' .. string.format('%.0f', now_ms() + lease_ms))
end
"""
)
_MARK = """
local function mark(attempts, id, process, number)
    local marks = cjson.decode(redis.call('HGET', attempts, id .. 'm') or '{}')
    -- What comes late, behind something newer, says nothing.
    if math.abs(number) > math.abs(marks[process] or 0) then
        marks[process] = tonumber(number)
        redis.call('HSET', attempts, id .. 'm', cjson.encode(marks))
    end
end
"""

APPEND = Script(f"""
-- KEYS: fence, stream, owners, [mark]
-- ARGV: epoch, node, lease in ms, renew or 0, payload, stamp, process, [value, ttl in s]
{_OWNED}{_LEASE}
if KEYS[4] then
    local held = redis.call('GET', KEYS[4])
    if held then
        local value, id = string.match(held, '^(.*)\\n(.-)$')
        -- Our own value: the append succeeded and its reply was lost on the way.
        if value == ARGV[8] then return {{1, id}} end
        return {{0, value or held}}
    end
end
local id = redis.call('XADD', KEYS[2], '*', 'p', ARGV[5], 's', ARGV[6], 'm', ARGV[7])
if KEYS[4] then redis.call('SET', KEYS[4], ARGV[8] .. '\\n' .. id, 'EX', ARGV[9]) end
if ARGV[4] ~= '0' or redis.call('HEXISTS', KEYS[3], ARGV[2]) == 0 then renew(KEYS[3], ARGV[2], ARGV[1], ARGV[3]) end
return {{1, id}}
""")

SETTLE = Script(f"""
-- KEYS: fence, stream, owners, [attempts]
-- ARGV: epoch, node, number of entries to settle, their ids, number of entries that are begun, their ids and, if there
--       are any, who begins them and the number of that, then channel and payload by turns
{_OWNED}{_MARK}
local last = 3 + ARGV[3]
if last > 3 then
    if redis.call('XDEL', KEYS[2], unpack(ARGV, 4, last)) > 0 and redis.call('XLEN', KEYS[2]) == 0 then
        redis.call('HDEL', KEYS[3], ARGV[2])
    end
    for i = 4, KEYS[4] and last or 0 do redis.call('HDEL', KEYS[4], ARGV[i], ARGV[i] .. 'm') end
end
local begun = last + 1 + ARGV[last + 1]
local announced = begun > last + 1 and begun + 3 or begun + 1
for i = last + 2, begun do
    -- A late one counts nothing of what is gone.
    if #redis.call('XRANGE', KEYS[2], ARGV[i], ARGV[i]) > 0 then
        mark(KEYS[4], ARGV[i], ARGV[begun + 1], ARGV[begun + 2])
    end
end
for i = announced, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], ARGV[i + 1]) end
return 1
""")

UNCOUNT = Script(f"""
-- KEYS: fence, stream, attempts   ARGV: epoch, who has begun them, the number of this, entry ids
{_OWNED}{_MARK}
for i = 4, #ARGV do
    if #redis.call('XRANGE', KEYS[2], ARGV[i], ARGV[i]) > 0 then mark(KEYS[3], ARGV[i], ARGV[2], -ARGV[3]) end
end
return 1
""")

BURY = Script(f"""
-- KEYS: fence, stream, owners, attempts, dead   ARGV: epoch, node, entry id, then fields and values of the dead letter
{_OWNED}
-- An entry that is gone was buried by a call whose reply was lost.
if #redis.call('XRANGE', KEYS[2], ARGV[3], ARGV[3]) == 0 then return 0 end
-- First: a script that fails is not undone, and a letter can fail to be written where an entry can be removed.
redis.call('XADD', KEYS[5], '*', unpack(ARGV, 4))
redis.call('XDEL', KEYS[2], ARGV[3])
if redis.call('XLEN', KEYS[2]) == 0 then redis.call('HDEL', KEYS[3], ARGV[2]) end
redis.call('HDEL', KEYS[4], ARGV[3], ARGV[3] .. 'm')
return 1
""")

JOIN = Script(f"""
-- KEYS: fence, stream, owners   ARGV: epoch, node, lease in ms, fence's ttl in s
-- As PostgreSQL said, perhaps a while ago: who was fenced meanwhile is refused, and never are others let in again.
{_OWNED}{_LEASE}
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[4])
if redis.call('XLEN', KEYS[2]) > 0 then renew(KEYS[3], ARGV[2], ARGV[1], ARGV[3]) end
return 1
""")

RENEW = Script(f"""
-- KEYS: fence, stream, owners   ARGV: epoch, node, lease in ms
{_OWNED}{_LEASE}
if redis.call('XLEN', KEYS[2]) > 0 then renew(KEYS[3], ARGV[2], ARGV[1], ARGV[3]) end
return 1
""")

RELEASE = Script(f"""
-- KEYS: fence, owners   ARGV: epoch, node   Answers whether the node has entries.
{_OWNED}
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[1] .. ':0')
return 1
""")

LOOK = Script(f"""
-- KEYS: fence, owners   ARGV: epoch, node
-- Answers {{node, epoch, 1 when it has ended it by itself}} of the others whose lease has run out.
{_OWNED}{_CLOCK}
local found, now, all = {{}}, now_ms(), redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
    local epoch, ends = string.match(all[i + 1], '^(%d+):(%d+)$')
    if all[i] ~= ARGV[2] and tonumber(ends) <= now then
        found[#found + 1] = {{all[i], tonumber(epoch), ends == '0' and 1 or 0}}
    end
end
return found
""")

ADOPT = Script(f"""
-- KEYS: fence, their fence, owners, their stream, their attempts, our stream, our attempts
-- ARGV: epoch, node, lease in ms, their node, their epoch, fence's ttl in s, most entries
-- Answers {{moved, left}}. They are fenced in PostgreSQL, so a lease that they renew meanwhile counts for nothing.
{_OWNED}{_LEASE}
-- Mail or not: what they had begun to adopt must not come here behind us.
local valid_from = tonumber(redis.call('GET', KEYS[2]) or 0)
redis.call('SET', KEYS[2], string.format('%.0f', math.max(valid_from, ARGV[5] + 1)), 'EX', ARGV[6])
local held = redis.call('HGET', KEYS[3], ARGV[4])
-- Another adopter had it all, or they came back with a new epoch.
if not held or tonumber(string.match(held, '^%d+')) > tonumber(ARGV[5]) then return {{0, 0}} end
local entries = redis.call('XRANGE', KEYS[4], '-', '+', 'COUNT', ARGV[7])
for _, entry in ipairs(entries) do
    local fields = {{}}
    for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
    local words = {{'p', fields['p'] or '', 's', fields['s'] or 0, 'o', fields['o'] or entry[1]}}
    -- An earlier release has adopted what has the one and not the other.
    words[7], words[8] = 'n', fields['n'] or fields['o'] and '' or ARGV[4]
    for _, name in ipairs({{'r', 'm'}}) do
        if fields[name] then words[#words + 1], words[#words + 2] = name, fields[name] end
    end
    local id = redis.call('XADD', KEYS[6], '*', unpack(words))
    for _, of in ipairs({{'', 'm'}}) do
        local attempts = redis.call('HGET', KEYS[5], entry[1] .. of)
        if attempts then
            redis.call('HSET', KEYS[7], id .. of, attempts)
            redis.call('HDEL', KEYS[5], entry[1] .. of)
        end
    end
    redis.call('XDEL', KEYS[4], entry[1])
end
if #entries > 0 then renew(KEYS[3], ARGV[2], ARGV[1], ARGV[3]) end
local left = redis.call('XLEN', KEYS[4])
if left == 0 then
    redis.call('DEL', KEYS[4], KEYS[5])
    redis.call('HDEL', KEYS[3], ARGV[4])
end
return {{#entries, left}}
""")

REPLAY = Script(f"""
-- KEYS: fence, stream, owners, dead   ARGV: epoch, node, lease in ms, dead letter's id, stamp, process
-- Answers {{entry's id, payload}}, or nothing.
{_OWNED}{_LEASE}
local found = redis.call('XRANGE', KEYS[4], ARGV[4], ARGV[4])
if #found == 0 then return false end
local fields = {{}}
for i = 1, #found[1][2], 2 do fields[found[1][2][i]] = found[1][2][i + 1] end
local payload = fields['p'] or ''
local id = redis.call('XADD', KEYS[2], '*', 'p', payload, 's', ARGV[5], 'r', 1, 'm', ARGV[6])
redis.call('XDEL', KEYS[4], ARGV[4])
renew(KEYS[3], ARGV[2], ARGV[1], ARGV[3])
return {{id, payload}}
""")

READ = Script(f"""
-- KEYS: stream   ARGV: first id, most entries, bytes after which it is enough
-- Answers {{server's ms, 1 when there is more, {{id, first id if it was moved, payload, stamp, replayed, node that has
-- sent it if it was moved, who appended it}}...}}; one entry at least, if there is any.
{_CLOCK}
local found, bytes, start, more = {{now_ms(), 0}}, 0, ARGV[1], true
while more do
    local some = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', 16)
    for _, entry in ipairs(some) do
        if #found >= ARGV[2] + 2 or bytes >= tonumber(ARGV[3]) then
            found[2] = 1
            return found
        end
        local fields = {{}}
        for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
        -- Whatever somebody else may have written is an entry that nobody can read, and keeps none from being read.
        local payload, stamp = fields['p'] or '', tonumber(fields['s']) or 0
        local again, sender, process = fields['r'] and 1 or 0, fields['n'] or '', fields['m'] or ''
        found[#found + 1] = {{entry[1], fields['o'] or '', payload, stamp, again, sender, process}}
        bytes, start = bytes + #payload, '(' .. entry[1]
    end
    more = #some > 0
end
return found
""")

LETTERS = Script("""
-- KEYS: dead   ARGV: last id, most letters, bytes after which it is enough
-- Answers {1 when there is more, {id, fields and values}...}, the newest first; one letter at least, if there is any.
local found, bytes, start, left = {0}, 0, ARGV[1], tonumber(ARGV[2])
while left > 0 do
    local some = redis.call('XREVRANGE', KEYS[1], start, '-', 'COUNT', math.min(left, 16))
    if #some == 0 then break end
    for _, letter in ipairs(some) do
        if bytes >= tonumber(ARGV[3]) then
            found[1] = 1
            return found
        end
        found[#found + 1] = letter
        for _, word in ipairs(letter[2]) do bytes = bytes + #word end
        start, left = '(' .. letter[1], left - 1
    end
end
return found
""")

ATTEMPTS = Script("""
-- KEYS: attempts   ARGV: who asks, then entry ids and who appended each, by turns
-- Answers of each how many others have begun it and not taken that back, and 1 when another has appended it and said no
-- more of it, or else 0.
local told = {}
for i = 2, #ARGV, 2 do
    local number, held = unpack(redis.call('HMGET', KEYS[1], ARGV[i], ARGV[i] .. 'm'))
    local attempts, marks, first = tonumber(number or 0), cjson.decode(held or '{}'), ARGV[i + 1]
    for process, said in pairs(marks) do
        if process ~= ARGV[1] and said > 0 then attempts = attempts + 1 end
    end
    told[#told + 1] = {attempts, (first ~= ARGV[1] and not marks[first]) and 1 or 0}
end
return told
""")

COUNT = Script("""
-- KEYS: stream, dead
return {redis.call('XLEN', KEYS[1]), redis.call('XLEN', KEYS[2])}
""")

PROBE = Script("""
-- KEYS: one that is nobody's   Fails as an append would: memory is full, this is a replica, we may not.
redis.call('XADD', KEYS[1], '*', 'p', '')
redis.call('DEL', KEYS[1])
return 1
""")
