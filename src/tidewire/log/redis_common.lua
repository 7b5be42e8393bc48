-- Finds the newest batch that a node and the log have in common.
--
-- KEYS  1 feed
-- ARGV  number and token of batches that the node has fed, newest first
-- Returns its place among them, from 1; 0 if there is none.

for i = 1, #ARGV, 2 do
  local found = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])
  if found[1] and string.sub(found[1][2][2], 9, 24) == ARGV[i + 1] then
    return (i + 1) / 2
  end
end
return 0
