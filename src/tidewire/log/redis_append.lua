-- Appends a batch: all of it, in one step, or nothing.
--
-- KEYS  1 log, 2 feed, 3 this node's last answer; then for each channel its state and its messages;
--       then the idempotency keys.
-- ARGV  1 epoch, 2 now in microseconds (-1: by this server's clock), 3 the batch's token, 4 "1" if it
--       may have been carried out before, 5 number of the last batch that the node has fed, 6 window
--       of idempotency keys in microseconds, 7 PUBLISH or SPUBLISH, 8 where to, 9 number of channels,
--       10 number of items, 11 the channel of each item, as 32-bit numbers, lowest byte first,
--       12 number of the log's partitions and 13 which of them this is, from 0: it gives the ids that
--       leave that remainder, 14 the id up to which none is to be given from now on, or 0, 15 the names
--       of the channels as MessagePack, 16 how many bytes each item has, as the numbers in 11;
--       then for each channel how many messages it keeps, and for how many microseconds;
--       then the items; then for each special one four: its number, that of its idempotency key in
--       KEYS or 0, its version or -1, and the reason of a purge or "".
-- Returns, as MessagePack: the number of the batch in the feed (0: it is empty), the first id, the
-- time in ms, each channel's seq before it in the order in which they come, for each item that
-- an earlier one makes superfluous three: its number, and id and seq of the other; and the mark, if
-- the batch says that up to there no id is given.
--
-- The bytes of an item are not looked into. A channel's state is nine 64-bit numbers: seq, last id,
-- last time, up to which id it was forgotten, its version with id and seq, how many messages are kept
-- at most, and when the expiry of the messages' key was set.

local call, byte, pack, unpack = redis.call, string.byte, struct.pack, struct.unpack
local STATE = '>I8I8I8I8I8I8I8I8I8'
local LONG = 32 * 24 * 3600 -- seconds that a channel's state outlives its last message, at least
local SLACK = 60 * 1000000 -- microseconds by which keys outlive what they are for
local PUBLISHED = 512 * 1024 -- bytes of a batch; of a larger one only its number and token
local FEED_BYTES, FEED_TIME = 32 * 1048576, 60 * 1000000 -- of one of the feed's two generations

local log = call('HMGET', KEYS[1], 'epoch', 'last', 'n', 'least', 'young', 'bytes', 'turned')
if log[1] ~= ARGV[1] then
  return redis.error_reply('OTHERLOG the log has another epoch')
end
local n = tonumber(log[3])
if n < tonumber(ARGV[5]) then
  return redis.error_reply('LOSTTAIL the log has lost its newest messages')
end
local token = ARGV[3]
if ARGV[4] == '1' then
  local known = call('GET', KEYS[3])
  if known and string.sub(known, 1, 16) == token then
    return string.sub(known, 17)
  end
end
local now = tonumber(ARGV[2])
if now < 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local ms = math.floor(now / 1000)
local window = tonumber(ARGV[6])
local channels_count, count, of = tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11]
local step, rest, mark = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local items = 16 + 2 * channels_count

local special
if #ARGV > items + count then
  special = {}
  for i = items + count + 1, #ARGV, 4 do
    special[tonumber(ARGV[i])] = i
  end
end

local id = math.max(tonumber(log[2]), (tonumber(log[4]) or 0) - 1)
local first, accepted = 0, 0
local channels, bases, taken, skipped = {}, {}, nil, {}

for i = 1, count do
  local low, middle, high = byte(of, 4 * i - 3, 4 * i - 1)
  local number = low + middle * 256 + high * 65536
  local c = channels[number]
  if c == nil then
    local state = call('GET', KEYS[4 + 2 * number])
    local seq, last, time, forgotten, version, version_id, version_seq, kept, set =
      0, 0, 0, 0, 0, 0, 0, 0, 0
    if state then
      seq, last, time, forgotten, version, version_id, version_seq, kept, set = unpack(STATE, state)
    end
    c = {
      messages = KEYS[5 + 2 * number], size = tonumber(ARGV[17 + 2 * number]), touched = false,
      seq = seq, last = last, time = time, forgotten = forgotten, kept = kept, set = set,
      version = version, version_id = version_id, version_seq = version_seq,
    }
    channels[number] = c
  end
  local at = special and special[i]
  local key, version, purge, other, other_seq
  if at then
    key, version, purge = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3]
    if key > 0 then
      local known = call('GET', KEYS[key])
      if known then
        local expires, known_id, known_seq = unpack('>I8I8I8', known)
        if expires > now and known_id > c.forgotten then
          other, other_seq = known_id, known_seq
        end
      end
    end
    if not other and version >= 0 and version <= c.version and c.version_id > 0 then
      other, other_seq = c.version_id, c.version_seq
    end
  end
  if other then
    local s = #skipped
    skipped[s + 1], skipped[s + 2], skipped[s + 3] = i, other, other_seq
    if not taken then
      taken = {}
      for j = 1, accepted do
        taken[j] = j
      end
    end
  else
    if id < now then
      id = now
    else
      id = id + 1
    end
    id = id + (rest - id) % step
    if accepted == 0 then
      first = id
    end
    accepted = accepted + 1
    local item = ARGV[items + i]
    if taken then
      taken[accepted] = i
    end
    if not c.touched then
      c.touched = true
      bases[#bases + 1] = c.seq
    end
    if purge and purge ~= '' then
      call('DEL', c.messages)
      c.kept, c.set = 0, 0
      if purge == 'reset' then
        c.seq, c.forgotten, c.version, c.version_id, c.version_seq = 0, id, 0, 0, 0
      end
    else
      c.seq = c.seq + 1
      if c.size > 0 then
        call('XADD', c.messages, id, 'm', pack('>I8I8I8', c.last, c.seq, ms) .. item)
        c.kept = c.kept + 1
      end
      if at then
        if key > 0 then
          call('SET', KEYS[key], pack('>I8I8I8', now + window, id, c.seq),
            'PX', math.ceil((window + SLACK) / 1000))
        end
        if version >= 0 then
          c.version, c.version_id, c.version_seq = version, id, c.seq
        end
      end
    end
    c.last, c.time = id, ms
  end
end

local last = tonumber(log[2])
if accepted > 0 then
  last = id
end
if mark > last then
  last = mark
else
  mark = 0
end

local answer
if accepted == 0 and mark == 0 then
  answer = cmsgpack.pack({ 0, 0, ms, {}, skipped, 0 })
else
  for number, c in pairs(channels) do
    if c.touched then
      local ttl = tonumber(ARGV[18 + 2 * number])
      if c.kept > c.size then
        call('XTRIM', c.messages, 'MAXLEN', c.size)
        c.kept = c.size
      end
      if c.kept > 0 and math.abs(now - c.set) > SLACK / 2 then
        c.set = now
        call('PEXPIRE', c.messages, math.ceil((ttl + 2 * SLACK) / 1000))
        if now > ttl then
          call('XTRIM', c.messages, 'MINID', '~', now - ttl)
        end
      end
      call('SET', KEYS[4 + 2 * number],
        pack(STATE, c.seq, c.last, c.time, c.forgotten, c.version, c.version_id, c.version_seq,
          c.kept, c.set),
        'EX', math.max(LONG, math.ceil(2 * ttl / 1000000)))
    end
  end
  n = n + 1
  local sizes, bodies = ARGV[16], nil
  if taken then
    local channel_of, size_of, body_of = {}, {}, {}
    for j, i in ipairs(taken) do
      channel_of[j], size_of[j] = string.sub(of, 4 * i - 3, 4 * i), string.sub(sizes, 4 * i - 3, 4 * i)
      body_of[j] = ARGV[items + i]
    end
    of, sizes, bodies = table.concat(channel_of), table.concat(size_of), table.concat(body_of)
  else
    bodies = table.concat(ARGV, '', items + 1, items + count)
  end
  local batch = table.concat({
    pack('>I8', n), token, '\153', cmsgpack.pack(first, ms, bases, 0), ARGV[15],
    '\198', pack('>I4', #of), of, '\198', pack('>I4', #sizes), sizes,
    '\221', pack('>I4', accepted), bodies, cmsgpack.pack(mark),
  })
  call('XADD', KEYS[2], n, 'b', batch)
  local bytes, turned = (tonumber(log[6]) or 0) + #batch, tonumber(log[7]) or now
  if bytes > FEED_BYTES or math.abs(now - turned) > FEED_TIME or not log[7] then
    call('XTRIM', KEYS[2], 'MINID', log[5] or 0)
    call('HSET', KEYS[1], 'last', last, 'n', n, 'young', n, 'bytes', 0, 'turned', now)
  else
    call('HSET', KEYS[1], 'last', last, 'n', n, 'bytes', bytes)
  end
  call(ARGV[7], ARGV[8], #batch > PUBLISHED and string.sub(batch, 1, 24) or batch)
  answer = cmsgpack.pack({ n, first, ms, bases, skipped, mark })
end
call('SET', KEYS[3], token .. answer, 'PX', 60000)
return answer
