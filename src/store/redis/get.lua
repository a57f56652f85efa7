-- What is stored at each of KEYS, and how many milliseconds it has left, as of one moment: one value must not get the time of another.
-- (MULTI would do as well, but is refused by a server whose memory is full, and reading does not need any.)
local found = {}
for i, key in ipairs(KEYS) do
    found[2 * i - 1] = redis.call('GET', key)
    found[2 * i] = redis.call('PTTL', key)
end
return found
