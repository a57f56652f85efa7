-- Limits, decided where they are kept: the numbers of src/store/rate/algorithms, in the doubles of Lua. All are whole and below 2^53, so all is exact.
-- KEYS: one for each request. ARGV: 'take' or 'give', then six words for each request:
-- algorithm, limit, capacity, microseconds of the period (0 by the calendar), calendar or '', units.
-- Answers: now, keys healed, then five numbers for each request: whether it goes, and how it stands after that.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local HELD = 1000000 -- a clock that is back no further was not set: two processors disagree
local EXACT = 9007199254740992
local floor, min, max = math.floor, math.min, math.max
local ALGORITHMS, healed = {}, 0

-- floor(a / b), and the rest.
local function divide(a, b)
    local q = floor(a / b)
    local r = a - q * b
    if r < 0 then return q - 1, r + b elseif r >= b then return q + 1, r - b end
    return q, r
end

-- floor(a * b / c), and the rest in c-ths, where the product may have 84 bits: b < 2^32, c < 2^52.
local function multiply_divide(a, b, c)
    if a * b < EXACT then return divide(a * b, c) end
    local whole, rest = divide(a, c)
    local q, r, left, bit = 0, 0, b, 2147483648
    while bit >= 1 do
        q, r = 2 * q, 2 * r
        if r >= c then q, r = q + 1, r - c end
        if left >= bit then
            left, r = left - bit, r + rest
            if r >= c then q, r = q + 1, r - c end
        end
        bit = bit / 2
    end
    return whole * b + q, r
end

-- What is kept at a key of text, as its numbers; nothing for a key of another type or form, which is removed.
local function read(key, form)
    local kept = redis.pcall('GET', key)
    if not kept then return end
    local a, b, c, d
    if type(kept) == 'string' then a, b, c, d = kept:match(form) end
    if a then return tonumber(a), tonumber(b), tonumber(c), tonumber(d) end
    redis.call('UNLINK', key)
    healed = healed + 1
end

-- So many microseconds, and never less, as a key is told to last.
local function lasting(long) return string.format('%.0f', floor(long / 1000) + 2) end

local function write(key, text, long)
    redis.call('SET', key, text, 'PX', lasting(long))
end
