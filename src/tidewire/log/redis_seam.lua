-- Records that the log has lost its newest messages: a seam, in its place in the order.
--
-- KEYS  1 log, 2 feed; then the states of channels
-- ARGV  1 epoch, 2 now in microseconds (-1: by this server's clock), 3 a token for the record, 4 the
--       highest id that the node has seen, 5 number of the newest batch that node and log have in
--       common (-1: none is known), 6 PUBLISH or SPUBLISH, 7 where to; then for each channel the
--       seq that was given last.
-- Returns newest id, number and token of the newest batch, and all seams.
--
-- A seam that was recorded after the common batch, by another node, is enough: then only ids and
-- seqs are moved on, so that none is given twice that this node has seen.

local call = redis.call
local STATE = '>I8I8I8I8I8I8I8I8I8'
local LONG = 32 * 24 * 3600
local MOST = 16

local now = tonumber(ARGV[2])
if now < 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local log = call('HMGET', KEYS[1], 'epoch', 'last', 'n', 'least', 'seams', 'seam_n')
if log[1] ~= ARGV[1] then
  return redis.error_reply('OTHERLOG the log has another epoch')
end
for i = 3, #KEYS do
  local seq = tonumber(ARGV[5 + i])
  local state = call('GET', KEYS[i])
  local values = state and { struct.unpack(STATE, state) } or { 0, 0, 0, 0, 0, 0, 0, 0, 0 }
  if values[1] < seq then
    values[1] = seq
    local ttl = math.max(LONG, call('TTL', KEYS[i]))
    call('SET', KEYS[i], struct.pack(STATE, unpack(values, 1, 9)), 'EX', ttl)
  end
end
local last, n, seen = tonumber(log[2]), tonumber(log[3]), tonumber(ARGV[4])
local common = tonumber(ARGV[5])
local token = ARGV[3]
local seams = log[5] or ''
if log[6] and common >= 0 and tonumber(log[6]) > common then
  if seen >= last then
    last = seen
    call('HSET', KEYS[1], 'last', last)
  end
  local found = call('XRANGE', KEYS[2], n, n)
  token = found[1] and string.sub(found[1][2][2], 9, 24) or ''
else
  last = math.max(last + 1, seen + 1, tonumber(log[4]) or 0, now)
  n = n + 1
  local kept = { string.format('%.0f', last) }
  for seam in string.gmatch(seams, '%d+') do
    if #kept < MOST then
      kept[#kept + 1] = seam
    end
  end
  seams = table.concat(kept, ' ')
  local batch = struct.pack('>I8', n) .. token .. '\149'
    .. cmsgpack.pack(last, math.floor(now / 1000), {}, last) .. '\144'
  call('XADD', KEYS[2], n, 'b', batch)
  call('HSET', KEYS[1], 'last', last, 'n', n, 'seams', seams, 'seam_n', n)
  call(ARGV[6], ARGV[7], batch)
end
return { string.format('%.0f', last), n, token, seams }
