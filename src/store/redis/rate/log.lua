-- Every call of the last period: a list of `when:units:units so far`, the oldest first. The last number makes sums of any part of it a subtraction.
local function parse(text)
    if type(text) ~= 'string' then return end
    local at, units, total = text:match('^(%d+):(%d+):(%d+)$')
    return tonumber(at), tonumber(units), tonumber(total)
end

-- The number of the first entry, from `from` on, for which `is` holds as it does for all after that; `to` when there is none.
local function search(key, from, to, is)
    while from < to do
        local middle = floor((from + to) / 2)
        local at, units, total = parse(redis.call('LINDEX', key, middle))
        if at and not is(at, units, total) then from = middle + 1 else to = middle end
    end
    return from
end

local function expire(key, long)
    redis.call('PEXPIRE', key, lasting(long))
end

-- A log that could not be true, or a key of another type: begun anew.
local function heal(key)
    redis.call('UNLINK', key)
    healed = healed + 1
    return { key = key, length = 0, base = 0, total = 0, seen = now, new = true, added = {} }
end

-- The clock was set back: what is known moves back with it.
local function rebase(key, back)
    local entries = redis.call('LRANGE', key, 0, -1)
    redis.call('UNLINK', key)
    for _, entry in ipairs(entries) do
        local at, units, total = parse(entry)
        if at then redis.call('RPUSH', key, string.format('%.0f:%.0f:%.0f', max(at - back, 0), units, total)) end
    end
end

ALGORITHMS.sliding_log = {
    load = function(key, t)
        local last = redis.pcall('LINDEX', key, -1)
        if not last then return { key = key, length = 0, base = 0, total = 0, seen = now, new = true, added = {} } end
        local at, units, total = parse(last)
        if not at then return heal(key) end
        local seen = now
        if at - now > HELD then
            rebase(key, at - now)
            expire(key, t.period)
            at = now
        elseif at > now then
            seen = at
        end
        local length = redis.call('LLEN', key)
        local first, over = parse(redis.call('LINDEX', key, 0)), 0
        if not first then return heal(key) end
        if first + t.period <= seen then
            over = search(key, 1, length, function(at) return at + t.period > seen end)
            redis.call('LTRIM', key, over, -1)
            length = length - over
        end
        local state = { key = key, length = length, base = 0, total = 0, last = at, seen = seen, added = {} }
        if length > 0 then
            local _, units_first, total_first = parse(redis.call('LINDEX', key, 0))
            if not total_first or total < total_first or total_first < units_first then return heal(key) end
            state.base, state.total = total_first - units_first, total
        end
        return state
    end,
    take = function(state, t)
        local used, wait = state.total - state.base, 0
        local goes = used + t.want <= t.limit
        if not goes then
            -- When the call went with whose end there is room enough.
            local missing = state.base + used + t.want - t.limit
            local found = search(state.key, 0, state.length, function(_, _, total) return total >= missing end)
            local at = found < state.length and parse(redis.call('LINDEX', state.key, found)) or state.seen
            wait = at + t.period - now
        elseif t.cost > 0 then
            state.total, state.last = state.total + t.cost, state.seen
            state.added[#state.added + 1] = { t.cost, state.total }
            used = used + t.cost
        end
        local full = used > 0 and state.last + t.period - now or 0
        return goes, max(t.limit - used, 0), wait, full, 0
    end,
    give = function(state, t)
        local units = t.cost
        while units > 0 and state.length > 0 do
            local at, last, total = parse(redis.call('LINDEX', state.key, -1))
            if at and last > units then
                redis.call('LSET', state.key, -1, string.format('%.0f:%.0f:%.0f', at, last - units, total - units))
                return
            end
            redis.call('RPOP', state.key)
            state.length, units = state.length - 1, units - (last or 0)
        end
    end,
    save = function(key, state, t)
        for _, entry in ipairs(state.added) do
            redis.call('RPUSH', key, string.format('%.0f:%.0f:%.0f', state.seen, entry[1], entry[2]))
        end
        if #state.added > 0 then expire(key, state.seen + t.period - now) end
    end,
}
