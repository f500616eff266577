"""What the Redis journal does in one step each. Every key is passed in KEYS; none is made up inside.

A stream holds entries {p: payload} or, when adopted from another node, {p: payload, o: id that it had at first}.
A mark holds the value of whoever took it and the id of its entry, on two lines. Attempts are counted in a hash beside
the stream, which only recovery writes: the normal way of a message touches nothing but the stream.
"""

from trendedge.storage.redis import Script

APPEND = Script("""
-- KEYS: stream, lease, nodes, [mark]   ARGV: payload, node, lease in s or 0, [value, ttl in s]
if KEYS[4] then
    local held = redis.call('GET', KEYS[4])
    if held then
        local value, id = string.match(held, '^(.*)\\n(.-)$')
        -- Our own value: the append succeeded and its reply was lost on the way.
        if value == ARGV[4] then return {1, id} end
        return {0, value or held}
    end
end
local id = redis.call('XADD', KEYS[1], '*', 'p', ARGV[1])
if KEYS[4] then redis.call('SET', KEYS[4], ARGV[4] .. '\\n' .. id, 'EX', ARGV[5]) end
if ARGV[3] ~= '0' then
    redis.call('SET', KEYS[2], '1', 'EX', ARGV[3])
    redis.call('SADD', KEYS[3], ARGV[2])
end
return {1, id}
""")

SETTLE = Script("""
-- KEYS: stream, [attempts]   ARGV: entry id, then channel and payload by turns
redis.call('XDEL', KEYS[1], ARGV[1])
if KEYS[2] then redis.call('HDEL', KEYS[2], ARGV[1]) end
for i = 2, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], ARGV[i + 1]) end
return 1
""")

BURY = Script("""
-- KEYS: stream, attempts, dead   ARGV: entry id, then fields and values of the dead letter
-- An entry that is gone was buried by a call whose reply was lost.
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('XADD', KEYS[3], '*', unpack(ARGV, 2))
return 1
""")

REPLAY = Script("""
-- KEYS: dead, stream, lease, nodes   ARGV: dead letter's id, node, lease in s   Answers the entry's id, or nothing.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then return false end
local fields = {}
for i = 1, #found[1][2], 2 do fields[found[1][2][i]] = found[1][2][i + 1] end
local id = redis.call('XADD', KEYS[2], '*', 'p', fields['p'])
redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('SET', KEYS[3], '1', 'EX', ARGV[3])
redis.call('SADD', KEYS[4], ARGV[2])
return {id, fields['p']}
""")

READ = Script("""
-- KEYS: stream   ARGV: first id, most entries   Answers {server's ms, {id, first id, payload}...}
local clock = redis.call('TIME')
local found = {clock[1] * 1000 + math.floor(clock[2] / 1000)}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])) do
    local fields = {}
    for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
    found[#found + 1] = {entry[1], fields['o'] or entry[1], fields['p']}
end
return found
""")

ATTEMPTS = Script("""
-- KEYS: attempts   ARGV: entry ids   Answers the attempts that were begun at each.
local attempts = {}
for i, id in ipairs(ARGV) do attempts[i] = tonumber(redis.call('HGET', KEYS[1], id) or 0) end
return attempts
""")

ADOPT = Script("""
-- KEYS: their lease, their stream, their attempts, our stream, our attempts, nodes
-- ARGV: their node, most entries   Answers {moved, left}; {-1, 0} when they are alive.
if redis.call('EXISTS', KEYS[1]) == 1 then return {-1, 0} end
local entries = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', ARGV[2])
for _, entry in ipairs(entries) do
    local fields = {}
    for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
    local id = redis.call('XADD', KEYS[4], '*', 'p', fields['p'], 'o', fields['o'] or entry[1])
    local attempts = redis.call('HGET', KEYS[3], entry[1])
    if attempts then
        redis.call('HSET', KEYS[5], id, attempts)
        redis.call('HDEL', KEYS[3], entry[1])
    end
    redis.call('XDEL', KEYS[2], entry[1])
end
local left = redis.call('XLEN', KEYS[2])
if left == 0 then
    redis.call('DEL', KEYS[2], KEYS[3])
    redis.call('SREM', KEYS[6], ARGV[1])
end
return {#entries, left}
""")

RENEW = Script("""
-- KEYS: lease, nodes   ARGV: node, lease in s
redis.call('SET', KEYS[1], '1', 'EX', ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
return 1
""")

COUNT = Script("""
-- KEYS: stream, dead
return {redis.call('XLEN', KEYS[1]), redis.call('XLEN', KEYS[2])}
""")
