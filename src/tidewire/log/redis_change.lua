-- Changes records, if they are what their changes were made from: all, or none.
--
-- KEYS  1 records, 2 their names in order, 3 their names by expiry, 4 this node's last round
-- ARGV  1 now in microseconds (-1: by this server's clock), 2 the round's token, 3 "1" if it may have
--       been carried out before; then for each record four: its name, what it was, what it becomes,
--       and its time to live in microseconds. A "v" stands before what it was and becomes; without
--       one there is no record.
-- Returns for each record that is something else two: its place, from 1, and what it is.

local call = redis.call
local conflicts = {}
if ARGV[3] == '1' and call('GET', KEYS[4]) == ARGV[2] then
  return conflicts
end
for i = 4, #ARGV, 4 do
  local is = call('HGET', KEYS[1], ARGV[i])
  local found = is and 'v' .. is or ''
  if found ~= ARGV[i + 1] then
    conflicts[#conflicts + 1] = i / 4
    conflicts[#conflicts + 1] = found
  end
end
if #conflicts > 0 then
  return conflicts
end
local now = tonumber(ARGV[1])
if now < 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
for i = 4, #ARGV, 4 do
  local name, value = ARGV[i], ARGV[i + 2]
  if value == '' then
    call('HDEL', KEYS[1], name)
    call('ZREM', KEYS[2], name)
    call('ZREM', KEYS[3], name)
  else
    local expires = now + tonumber(ARGV[i + 3])
    call('HSET', KEYS[1], name, struct.pack('>I8', expires) .. string.sub(value, 2))
    if ARGV[i + 1] == '' then
      call('ZADD', KEYS[2], 0, name)
    end
    call('ZADD', KEYS[3], expires, name)
  end
end
call('SET', KEYS[4], ARGV[2], 'PX', 60000)
return conflicts
