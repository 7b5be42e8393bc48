-- Finds where the last messages of channels begin.
--
-- KEYS  the messages of channels
-- ARGV  1 how many messages; then for each channel the lowest id that counts.
-- Returns for each channel the id of the message before those; "" if there are not as many.

local PAGE = 100
local found = {}
for i = 1, #KEYS do
  local left, upto = tonumber(ARGV[1]) + 1, '+'
  local id = ''
  if left <= redis.call('XLEN', KEYS[i]) then
    while left > 0 do
      local page = redis.call('XREVRANGE', KEYS[i], upto, ARGV[1 + i], 'COUNT', math.min(left, PAGE))
      left = left - #page
      if left == 0 then
        id = page[#page][1]
      elseif #page < PAGE then
        break
      else
        upto = '(' .. page[#page][1]
      end
    end
  end
  found[i] = id
end
return found
