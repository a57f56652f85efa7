-- What is counted by the clock: one window, or two.

-- Days from 1970 of the first of a month: H. Hinnant, days_from_civil.
local function first_of(year, month)
    local y = month <= 2 and year - 1 or year
    local era, mp = floor(y / 400), (month + 9) % 12
    local yoe = y - era * 400
    return era * 146097 + yoe * 365 + floor(yoe / 4) - floor(yoe / 100) + floor((153 * mp + 2) / 5) - 719468
end

-- And back: civil_from_days.
local function year_and_month(day)
    local z = day + 719468
    local era = floor(z / 146097)
    local doe = z - era * 146097
    local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
    local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
    local mp = floor((5 * doy + 2) / 153)
    local month = mp < 10 and mp + 3 or mp - 9
    return yoe + era * 400 + (month <= 2 and 1 or 0), month
end

-- From when to when the window lasts around a moment.
local function window_of(moment, t)
    if t.calendar == '' then
        local start = moment - select(2, divide(moment, t.period))
        return start, start + t.period
    end
    local day, from, to = floor(moment / 86400000000)
    if t.calendar == 'daily' then
        from, to = day, day + 1
    elseif t.calendar == 'weekly' then
        local monday = day + 3 - (day + 3) % 7
        from, to = max(monday - 3, 0), monday + 4
    else
        local year, month = year_and_month(day)
        if t.calendar == 'monthly' then
            from, to = first_of(year, month), first_of(month == 12 and year + 1 or year, month % 12 + 1)
        else
            from, to = first_of(year, 1), first_of(year + 1, 1)
        end
    end
    return from * 86400000000, to * 86400000000
end

-- now, unless it is just before a start that has been seen already.
local function held(start)
    if now < start and start - now <= HELD then return start end
    return now
end

ALGORITHMS.fixed_window = {
    load = function(key, t)
        local start, ends, used = read(key, '^(%d+):(%d+):(%d+)$')
        if start then return { start = start, ends = ends, used = min(used, t.limit) } end
        start, ends = window_of(now, t)
        return { start = start, ends = ends, used = 0, new = true }
    end,
    roll = function(state, t)
        local seen = held(state.start)
        local start, ends = window_of(seen, t)
        if start ~= state.start or ends ~= state.ends then
            -- What was used in one that is not over still counts, from now on in this one.
            if seen >= state.ends then state.used = 0 else state.moved = not state.new end
            state.start, state.ends = start, ends
        end
    end,
    take = function(state, t)
        ALGORITHMS.fixed_window.roll(state, t)
        local goes = t.want <= t.limit - state.used
        if goes then state.used = state.used + t.cost end
        return goes, state.start, state.ends, state.used, 0
    end,
    give = function(state, t)
        ALGORITHMS.fixed_window.roll(state, t)
        state.used = max(state.used - t.cost, 0)
    end,
    save = function(key, state)
        if state.used == 0 then
            redis.call('UNLINK', key)
        else
            write(key, string.format('%.0f:%.0f:%.0f', state.start, state.ends, state.used), state.ends - now)
        end
    end,
}

-- The part of the earlier window that still counts, in whole units, and whether there is more than that.
local function faded(state, seen)
    local left = min(max(state.start + state.period - seen, 0), state.period)
    return multiply_divide(left, state.before, state.period)
end

local function shift(state, seen, start)
    local later = start - state.start
    if later == 0 then return end
    if later > 0 and later == state.period then
        state.before, state.used = state.used, 0
    elseif later > 0 and seen >= state.start then
        state.before, state.used = 0, 0
    elseif later < 0 then
        state.moved = true -- set back: what was counted still counts
    end
    state.start = start
end

ALGORITHMS.sliding_counter = {
    load = function(key, t)
        local start, period, before, used = read(key, '^(%d+):(%d+):(%d+):(%d+)$')
        if start and period > 0 and period < EXACT / 2 then
            return { start = start, period = period, before = min(before, t.limit), used = min(used, t.limit) }
        end
        return { start = window_of(now, t), period = t.period, before = 0, used = 0, new = true }
    end,
    roll = function(state, t)
        local seen = held(state.start)
        if state.period ~= t.period then
            -- Another period: what the old ones come to is as if used just now.
            local periods = divide(max(seen - state.start, 0), state.period)
            shift(state, seen, state.start + periods * state.period)
            local units, more = faded(state, seen)
            state.start, state.period, state.before, state.moved = window_of(seen, t), t.period, 0, true
            state.used = state.used + units + (more > 0 and 1 or 0)
        end
        shift(state, seen, (window_of(seen, t)))
        return seen
    end,
    take = function(state, t)
        local seen = ALGORITHMS.sliding_counter.roll(state, t)
        local units, more = faded(state, seen)
        local room = t.limit - state.used - t.want
        local goes = room > units or (room == units and more == 0)
        if goes then state.used = state.used + t.cost end
        return goes, state.start, state.period, state.before, state.used
    end,
    give = function(state, t)
        ALGORITHMS.sliding_counter.roll(state, t)
        local rest = max(t.cost - state.used, 0)
        state.used, state.before = max(state.used - t.cost, 0), max(state.before - rest, 0)
    end,
    save = function(key, state)
        if state.used == 0 and state.before == 0 then
            redis.call('UNLINK', key)
        else
            local text = string.format('%.0f:%.0f:%.0f:%.0f', state.start, state.period, state.before, state.used)
            write(key, text, state.start + 2 * state.period - now)
        end
    end,
}
