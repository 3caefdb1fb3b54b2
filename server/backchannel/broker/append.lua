-- Append an event to a live log and publish it, as one step.
--
-- KEYS  1 head, 2 log, 3 ids (see log.lua), 4 the channel's topic
-- ARGV  1 PUBLISH, or SPUBLISH on a cluster
--       2 the publication's id, 16 bytes; empty for none
--       3 how many events the log keeps
--       4 how long it keeps them, in milliseconds
--       5 a random epoch of 16 characters, for a log that begins anew
--       6 the event (MessagePack) up to its epoch
--       7 the event behind its offset
-- Reply {epoch, offset, the oldest offset in the log}: of the event that was appended before where its publication was
--       in the log already, and then nothing is published.

local head, log, ids = KEYS[1], KEYS[2], KEYS[3]
local id = ARGV[2]
local epoch, offset, length, kept = open(head, log, ids, ARGV[5])
length = trim(log, ids, length)
if id ~= '' then
  local before = redis.call('HGET', ids, id)
  if before then
    return {epoch, tonumber(before), offset - length + 1}
  end
end

offset = offset + 1
local expires = now + tonumber(ARGV[4])
-- A string of 16 bytes and an unsigned integer of 8.
local event = ARGV[6] .. '\176' .. epoch .. '\207' .. struct.pack('>I8', offset) .. ARGV[7]
redis.call('RPUSH', log, struct.pack('>I8', expires) .. (id == '' and NO_ID or id) .. event)
redis.call('HSET', head, 'offset', offset, 'until', expires)
if id ~= '' then
  redis.call('HSET', ids, id, offset)
end
-- Keys that are made anew have no expiry; of the others it is moved now and then, not each time.
if length == 0 or expires + LINGER / 2 > kept then
  keep(head, log, ids, math.max(kept, expires + LINGER))
elseif id ~= '' then
  redis.call('PEXPIREAT', ids, kept)
end
length = trim(log, ids, length + 1, tonumber(ARGV[3]))
redis.call(ARGV[1], KEYS[4], event)
return {epoch, offset, offset - length + 1}
