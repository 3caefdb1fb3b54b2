-- Append events to a live log and publish them, as one step. However many they are, each command runs once: what a run
-- costs, it costs for all of them together.
--
-- KEYS  1 head, 2 log, 3 ids (see log.lua), 4 the channel's topic
-- ARGV  1 PUBLISH, or SPUBLISH on a cluster
--       2 how many events the log keeps
--       3 how long it keeps them, in milliseconds
--       4 a random epoch of 16 characters, for a log that begins anew
--       then, for each event, of which there are at most 100:
--         the publication's id, 16 bytes; empty for none
--         the event (MessagePack) up to its epoch
--         the event behind its offset
-- Reply {epoch, the oldest offset in the log, the offset of each event}: an event whose publication was in the log
--       already, or came before in this run, has the offset that it got then, and is not published again.

-- How many leave at once where the log is to keep fewer than before: `unpack` has its limit.
local MOST = 1000

local head, log, ids = KEYS[1], KEYS[2], KEYS[3]
local size, age = tonumber(ARGV[2]), tonumber(ARGV[3])
local epoch, offset, oldest, kept = open(head, log, ids, ARGV[4])
oldest = trim(log, ids, oldest)
local expires = now + age
local stamp = struct.pack('>I8', expires)
-- A string of 16 bytes, and what an unsigned integer of 8 bytes begins with.
local coded = '\176' .. epoch .. '\207'

-- Where publications are in the log.
local places, asked = {}, {}
for at = 5, #ARGV, 3 do
  if ARGV[at] ~= '' then
    asked[#asked + 1] = ARGV[at]
  end
end
if #asked > 0 then
  for at, place in ipairs(redis.call('HMGET', ids, unpack(asked))) do
    places[asked[at]] = tonumber(place)
  end
end

local reply = {epoch, 0}
local events, elements, named = {}, {}, {}
for at = 5, #ARGV, 3 do
  local id = ARGV[at]
  local place = places[id]
  if not place then
    offset = offset + 1
    place = offset
    local event = ARGV[at + 1] .. coded .. struct.pack('>I8', offset) .. ARGV[at + 2]
    if id == '' then
      id = NO_ID
    else
      places[id] = offset
      named[#named + 1] = id
      named[#named + 1] = offset
    end
    events[#events + 1] = event
    elements[#elements + 1] = stamp .. id .. event
  end
  reply[#reply + 1] = place
end

local length
if #events == 0 then
  length = redis.call('LLEN', log)
else
  length = redis.call('RPUSH', log, unpack(elements))
  if #named > 0 then
    redis.call('HSET', ids, unpack(named))
  end
  while length > size do
    local over = math.min(length - size, MOST)
    drop(log, ids, over)
    length = length - over
  end
  -- An array of up to 65,535.
  redis.call(ARGV[1], KEYS[4], '\220' .. struct.pack('>I2', #events) .. table.concat(events))
  redis.call('HSET', head, 'offset', offset, 'until', expires)
  -- Keys that are made anew have no expiry; of the others it is moved now and then, not each time.
  if not oldest or expires + LINGER / 2 > kept then
    keep(head, log, ids, math.max(kept, expires + LINGER))
  elseif #named > 0 then
    redis.call('PEXPIREAT', ids, kept)
  end
end
reply[2] = offset - length + 1
return reply
