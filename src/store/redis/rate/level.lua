-- What flows: GCRA, where time drains what was spent, and the token bucket, where it fills what is there. units + part / period.
local function level(fills)
    local function load(key, t)
        local at, units, part = read(key, '^(%d+):(%d+):(%d+)$')
        if not at then return { at = now, units = fills and t.capacity or 0, part = 0, new = true } end
        return { at = at, units = units, part = part }
    end

    -- Lets time pass.
    local function pass(state, t)
        local elapsed = 0
        if now >= state.at then
            elapsed, state.at = now - state.at, now
        elseif state.at - now > HELD then
            state.at, state.moved = now, true
        end
        state.part = min(state.part, t.period - 1)
        local flow = elapsed / t.period * t.limit
        local room = fills and t.capacity - state.units or state.units + 1
        if flow > room + 1 then
            state.units, state.part = fills and t.capacity or 0, 0
        else
            local units, part = multiply_divide(elapsed, t.limit, t.period)
            if fills then
                state.units, state.part = state.units + units, state.part + part
                if state.part >= t.period then state.units, state.part = state.units + 1, state.part - t.period end
            else
                state.units, state.part = state.units - units, state.part - part
                if state.part < 0 then state.units, state.part = state.units - 1, state.part + t.period end
                if state.units < 0 then state.units, state.part = 0, 0 end
            end
        end
        if state.units >= t.capacity then
            -- More than can be spent was not: were that not written, it would take its time to drain.
            state.units, state.part, state.moved = t.capacity, 0, not fills and not state.new
        end
    end

    local function take(state, t)
        pass(state, t)
        local goes
        if fills then
            goes = state.units >= t.want
            if goes then state.units = state.units - t.cost end
        else
            local spent = state.units + t.want
            goes = spent < t.capacity or (spent == t.capacity and state.part == 0)
            if goes then state.units = state.units + t.cost end
        end
        return goes, state.at, state.units, state.part, 0
    end

    local function give(state, t)
        pass(state, t)
        state.units = state.units + (fills and t.cost or -t.cost)
        if state.units < 0 then state.units, state.part = 0, 0 end
        if state.units >= t.capacity then state.units, state.part = t.capacity, 0 end
    end

    local function save(key, state, t)
        local missing = state.units + state.part / t.period
        if fills then missing = t.capacity - missing end
        if missing <= 0 then
            redis.call('UNLINK', key)
        else
            local text = string.format('%.0f:%.0f:%.0f', state.at, state.units, state.part)
            write(key, text, missing * t.period / t.limit + state.at - now)
        end
    end

    return { load = load, take = take, give = give, save = save }
end
ALGORITHMS.gcra, ALGORITHMS.token_bucket = level(false), level(true)
