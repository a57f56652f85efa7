-- Stores the values of KEYS[1..n], all with the tags whose sets are the keys after them.
-- ARGV: n, milliseconds to live or '', 'NX' or '', the frames. Answers how many are stored now.
local n, ttl, nx = tonumber(ARGV[1]), ARGV[2], ARGV[3] == 'NX'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local score = '+inf'
if ttl ~= '' then score = string.format('%.0f', now + tonumber(ttl)) end

local stored = {}
for i = 1, n do
    local set = { 'SET', KEYS[i], ARGV[3 + i] }
    if ttl ~= '' then set[#set + 1] = 'PX'; set[#set + 1] = ttl end
    if nx then set[#set + 1] = 'NX' end
    if redis.call(unpack(set)) then stored[#stored + 1] = KEYS[i] end
end

for i = n + 1, #KEYS do
    local tag = KEYS[i]
    local type = redis.call('TYPE', tag).ok
    if type ~= 'zset' and type ~= 'none' then redis.call('UNLINK', tag) end
    for _, key in ipairs(stored) do redis.call('ZADD', tag, score, key) end
    -- What is over by now leaves, and the set itself lives as long as the last of its members.
    redis.call('ZREMRANGEBYSCORE', tag, '-inf', string.format('(%.0f', now))
    local last = redis.call('ZREVRANGE', tag, 0, 0, 'WITHSCORES')[2]
    if last == 'inf' then
        redis.call('PERSIST', tag)
    elseif last then
        redis.call('PEXPIREAT', tag, string.format('%.0f', tonumber(last)))
    end
end
return #stored
