-- What a node does first on each connection: finds the log, or makes it, and says what it knows.
--
-- KEYS  1 log, 2 feed
-- ARGV  1 the epoch that a new log gets, 2 now in microseconds (-1: by this server's clock), 3 the
--       run id of the server, 4 number and 5 token of the last batch that the node has fed; the
--       number is -1 if it knows nothing yet; 6 the format in which it reads and writes.
-- Returns epoch, newest id, number and token of the newest batch, the time of the log's birth, now,
-- and how the node's batch is found: "ok", "trimmed" (it is no longer in the feed) or "lost".
--
-- A server with another run id than the last one's has been started anew, or takes the place of one
-- that failed: what that one accepted last may be unknown to it. Its ids begin beyond all of those,
-- by a second more than its clock says.

local call = redis.call
local LEAP = 1000000

local now = tonumber(ARGV[2])
if now < 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local log = call('HMGET', KEYS[1], 'epoch', 'last', 'n', 'born', 'run', 'format')
if not log[1] then
  call('HSET', KEYS[1], 'epoch', ARGV[1], 'last', 0, 'n', 0, 'born', now, 'run', ARGV[3],
    'format', ARGV[6])
  log = { ARGV[1], '0', '0', now, ARGV[3], ARGV[6] }
end
if log[6] ~= ARGV[6] then
  return redis.error_reply('FORMAT ' .. tostring(log[6]))
end
if log[5] ~= ARGV[3] then
  call('HSET', KEYS[1], 'run', ARGV[3])
  if log[2] ~= '0' then
    call('HSET', KEYS[1], 'least', math.max(tonumber(log[2]), now) + LEAP)
  end
end

local function token_of(n)
  local found = call('XRANGE', KEYS[2], n, n)
  return found[1] and string.sub(found[1][2][2], 9, 24)
end

local n, known = tonumber(log[3]), tonumber(ARGV[4])
local token = n > 0 and token_of(n) or ''
local state = 'ok'
if known > n then
  state = 'lost'
elseif known > 0 then
  local found = token_of(known)
  if not found then
    state = 'trimmed'
  elseif found ~= ARGV[5] then
    state = 'lost'
  end
elseif known == 0 and n > 0 and not token_of(1) then
  state = 'trimmed'
end
return {
  log[1], log[2], n, token, string.format('%.0f', log[4]), string.format('%.0f', now), state,
}
