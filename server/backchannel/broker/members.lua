-- Who is present on a channel.
--
-- KEYS  1 room, 2 users (see presence.lua)
-- ARGV  1 the highest revision that the caller knows of this room; 0 if it knows none
--       2 until when rooms that begin anew are to wait (ms); 0 or past: they need not
--       3 the grace, in milliseconds
-- Reply {epoch, revision, how many milliseconds the room still waits for gateways to enter their connections anew,
--       user, "connections since", user, ...}; the epoch is empty where there is no room.

local known, settle, grace = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local room = redis.call('HMGET', KEYS[1], 'epoch', 'revision', 'replid', 'settled')
if not room[1] then
  return {'', 0, math.max(known > 0 and grace or 0, settle - now)}
end
local settled = tonumber(room[4])
local waits = settled > 0 and math.max(1, settled - now) or 0
if room[3] ~= string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') then
  -- Another Redis history: presence.lua begins the room anew as soon as somebody changes it.
  waits = grace
end
local reply = {room[1], tonumber(room[2]), waits}
local users = redis.call('HGETALL', KEYS[2])
for i = 1, #users do
  reply[i + 3] = users[i]
end
return reply
