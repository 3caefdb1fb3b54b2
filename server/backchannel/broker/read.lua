-- Where a live log stands, and a page of it. A channel without a log gets one, so that its epoch is settled.
--
-- KEYS  1 head, 2 log, 3 ids (see log.lua)
-- ARGV  1 a random epoch of 16 characters, for a log that begins anew
--       2 the offset behind which the page begins
--       3 how many events at most; 0 for the head alone
-- Reply {epoch, the newest offset, the oldest offset in the log, element, element ...}; see log.lua for the elements.

local head, log, ids = KEYS[1], KEYS[2], KEYS[3]
local after, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local epoch, offset, oldest, kept = open(head, log, ids, ARGV[1])
trim(log, ids, oldest)
if kept < now + LINGER / 2 then
  keep(head, log, ids, now + LINGER)
end
local first = offset - redis.call('LLEN', log) + 1
local reply = {epoch, offset, first}
if limit > 0 then
  local from = math.max(0, after + 1 - first)
  local elements = redis.call('LRANGE', log, from, from + limit - 1)
  for i = 1, #elements do
    reply[i + 3] = elements[i]
  end
end
return reply
