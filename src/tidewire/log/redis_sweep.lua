-- Removes records whose time is over, and notes up to when messages are withdrawn for good.
--
-- KEYS  1 log, 2 records, 3 their names in order, 4 their names by expiry, 5 whose turn it is
-- ARGV  1 now in microseconds (-1: by this server's clock), 2 how many records at most, 3 for how many
--       ms nobody else is to do the same, 4 for how many microseconds a message is withdrawn before
--       that is noted.
-- Returns now, how many were removed (-1: another node has done it a moment ago), the log's epoch
-- and the number of its newest batch.

local call = redis.call
local now = tonumber(ARGV[1])
if now < 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local text = string.format('%.0f', now)
local log = call('HMGET', KEYS[1], 'last', 'swept', 'epoch', 'n')
local epoch, n = log[3] or '', tonumber(log[4]) or 0
if ARGV[3] ~= '0' and not call('SET', KEYS[5], '1', 'NX', 'PX', ARGV[3]) then
  return { text, -1, epoch, n }
end
local names = call('ZRANGEBYSCORE', KEYS[4], '-inf', text, 'LIMIT', 0, ARGV[2])
for _, name in ipairs(names) do
  call('HDEL', KEYS[2], name)
  call('ZREM', KEYS[3], name)
  call('ZREM', KEYS[4], name)
end
local ms = math.floor((now - tonumber(ARGV[4])) / 1000)
if log[1] and log[1] ~= '0' then
  local before = log[2] and tonumber(string.match(log[2], '^%d+')) or 0
  if ms > before then
    call('HSET', KEYS[1], 'swept', string.format('%.0f ', ms) .. log[1])
  end
end
return { text, #names, epoch, n }
