-- Removes what bears a tag: at most ARGV[2] members of its set, KEYS[1]. ARGV[1]: the tag, as its values have it.
-- A value that was stored again without the tag stays; only its name leaves the set. Answers how many were removed, and how many are left to see.
local function bears(key)
    -- The frame: version (1), created_at (8), length of what follows (4), tags and metadata. See frame.rs and words.rs.
    local head = redis.pcall('GETRANGE', key, 0, 12)
    if type(head) ~= 'string' or #head < 13 or head:byte(1) ~= 1 then return false end
    local length = struct.unpack('<I4', head, 10)
    if length < 4 then return false end
    local about = redis.call('GETRANGE', key, 13, 12 + length)
    if #about < length then return false end
    local at = 5
    for _ = 1, struct.unpack('<I4', about, 1) do
        if at + 3 > #about then return false end
        local size = struct.unpack('<I4', about, at)
        if about:sub(at + 4, at + 3 + size) == ARGV[1] then return true end
        at = at + 4 + size
    end
    return false
end

if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then return { 0, 0 } end
local removed = 0
local popped = redis.call('ZPOPMIN', KEYS[1], ARGV[2])
for i = 1, #popped, 2 do
    if bears(popped[i]) then removed = removed + redis.call('UNLINK', popped[i]) end
end
return { removed, redis.call('ZCARD', KEYS[1]) }
