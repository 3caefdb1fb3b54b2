-- Append events to a live log and publish them, as one step.
--
-- KEYS  1 head, 2 log, 3 ids (see log.lua), 4 the channel's topic
-- ARGV  1 PUBLISH, or SPUBLISH on a cluster
--       2 how many events the log keeps
--       3 how long it keeps them, in milliseconds
--       4 a random epoch of 16 characters, for a log that begins anew
--       then, for each event:
--         the publication's id, 16 bytes; empty for none
--         the event (MessagePack) up to its epoch
--         the event behind its offset
-- Reply {epoch, the oldest offset in the log, the offset of each event}: an event whose publication was in the log
--       already has the offset that it got then, and is not published again.

local head, log, ids = KEYS[1], KEYS[2], KEYS[3]
local publish, size, age = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local epoch, offset, length, kept = open(head, log, ids, ARGV[4])
local expires = now + age
local stamp = struct.pack('>I8', expires)
-- A string of 16 bytes.
local coded = '\176' .. epoch
local named, appended = false, false
local began = length
length = trim(log, ids, length)

local reply = {epoch, 0}
for at = 5, #ARGV, 3 do
  local id = ARGV[at]
  local before = id ~= '' and redis.call('HGET', ids, id)
  if before then
    reply[#reply + 1] = tonumber(before)
  else
    offset = offset + 1
    -- An unsigned integer of 8 bytes.
    local event = ARGV[at + 1] .. coded .. '\207' .. struct.pack('>I8', offset) .. ARGV[at + 2]
    redis.call('RPUSH', log, stamp .. (id == '' and NO_ID or id) .. event)
    if id ~= '' then
      redis.call('HSET', ids, id, offset)
      named = true
    end
    length = trim(log, ids, length + 1, size)
    redis.call(publish, KEYS[4], event)
    reply[#reply + 1] = offset
    appended = true
  end
end

if appended then
  redis.call('HSET', head, 'offset', offset, 'until', expires)
  -- Keys that are made anew have no expiry; of the others it is moved now and then, not each time.
  if began == 0 or expires + LINGER / 2 > kept then
    keep(head, log, ids, math.max(kept, expires + LINGER))
  elseif named then
    redis.call('PEXPIREAT', ids, kept)
  end
end
reply[2] = offset - length + 1
return reply
