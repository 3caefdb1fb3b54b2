-- Strike out notes that were told, and let others have the rest.
--
-- KEYS  1 room, 2 notes (see presence.lua)
-- ARGV  1 until when the caller had them (ms)
--       2, 3 ... user, note; a note that is a newer one by now stays
-- Reply how many there are left

local notes = KEYS[2]
for i = 2, #ARGV, 2 do
  if redis.call('HGET', notes, ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', notes, ARGV[i])
  end
end
if redis.call('HGET', KEYS[1], 'noting') == ARGV[1] then
  redis.call('HDEL', KEYS[1], 'noting')
end
return redis.call('HLEN', notes)
