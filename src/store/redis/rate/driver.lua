-- One request, or several of which all go or none.
local states, order, answers, all = {}, {}, {}, true
for i, key in ipairs(KEYS) do
    local a = 6 * i - 4
    local t = {
        limit = tonumber(ARGV[a + 1]),
        capacity = tonumber(ARGV[a + 2]),
        period = tonumber(ARGV[a + 3]),
        calendar = ARGV[a + 4],
        cost = tonumber(ARGV[a + 5]),
    }
    t.want = max(t.cost, 1) -- who wants nothing asks whether there is one
    local algorithm = ALGORITHMS[ARGV[a]]
    local state = states[key]
    if not state then
        state = algorithm.load(key, t)
        states[key], order[#order + 1] = state, key
    end
    state.terms, state.algorithm = t, algorithm
    if ARGV[1] == 'give' then
        algorithm.give(state, t)
        state.changed = not state.new
    else
        local goes, b, c, d, e = algorithm.take(state, t)
        if not goes then all = false elseif t.cost > 0 then state.changed = true end
        local n = 5 * i - 2
        answers[n], answers[n + 1], answers[n + 2], answers[n + 3], answers[n + 4] = goes and 1 or 0, b, c, d, e
    end
end
for _, key in ipairs(order) do
    local state = states[key]
    if all and state.changed then
        state.algorithm.save(key, state, state.terms)
    elseif state.moved then
        -- A refusal takes nothing; but what had to be put right must not be put right again and again, never to end.
        local t, algorithm = state.terms, state.algorithm
        if #KEYS > 1 then
            -- As it is without what the others would have taken.
            state, t.cost, t.want = algorithm.load(key, t), 0, 1
            algorithm.take(state, t)
        end
        algorithm.save(key, state, t)
    end
end
answers[1], answers[2] = now, healed
return answers
