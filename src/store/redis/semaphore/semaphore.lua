-- Places that are held for a time: one sorted set a name, of who holds one, by when that ends in microseconds of the server's clock.
-- Its member `fence` is the last number given out, negated, so that it lies below all times.
-- KEYS: the set. ARGV: 'take', 'renew', 'release' or 'count', then holder, places, microseconds to live.
-- Answers: whether it is so, the number given out or the wait, how many are held now, keys healed.
local key, op, holder, places, ttl = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local HOUR, LONGEST = 3600000, 3153600000000000
local healed = 0

-- What is over is nobody's any more.
local pruned = redis.pcall('ZREMRANGEBYSCORE', key, 0, string.format('%.0f', now))
if type(pruned) == 'table' then
    redis.call('UNLINK', key)
    healed = 1
elseif redis.call('ZREMRANGEBYSCORE', key, string.format('(%.0f', now + LONGEST), '+inf') > 0 then
    healed = 1 -- nobody holds for longer than is allowed
end

local function count() return redis.call('ZCOUNT', key, string.format('(%.0f', now), '+inf') end

local function put()
    redis.call('ZADD', key, string.format('%.0f', now + ttl), holder)
    -- As long as the last holder, and an hour in which the number is remembered.
    local last = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]
    redis.call('PEXPIRE', key, string.format('%.0f', math.floor((tonumber(last) - now) / 1000) + HOUR))
end

if op == 'take' then
    local mine = redis.call('ZSCORE', key, holder)
    local held = count()
    if not mine and held >= places then
        local first = redis.call('ZRANGEBYSCORE', key, string.format('(%.0f', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
        return { 0, tonumber(first) - now, held, healed }
    end
    local last = redis.call('ZSCORE', key, 'fence')
    local fence = math.max(last and 1 - tonumber(last) or 0, now)
    -- One that could not have been given out yet was not given out by us.
    if fence > now + 86400000000 then fence = now end
    redis.call('ZADD', key, string.format('%.0f', -fence), 'fence')
    put()
    return { 1, fence, mine and held or held + 1, healed }
elseif op == 'renew' then
    if not redis.call('ZSCORE', key, holder) then return { 0, 0, count(), healed } end
    put()
    return { 1, 0, count(), healed }
elseif op == 'release' then
    return { redis.call('ZREM', key, holder), 0, count(), healed }
end
return { 1, 0, count(), healed }
