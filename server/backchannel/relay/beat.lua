-- Says that one process lives, and tells who else does, by the clock of Redis.
-- KEYS[1]: the registry of its own kind (hash: incarnation -> "<dies at, ms> <what it tells>")
-- KEYS[2]: the registry of the other kind
-- ARGV[1]: its incarnation
-- ARGV[2]: what it tells
-- ARGV[3]: milliseconds until it counts as dead; 0: it leaves now
-- Returns the living of the other kind: incarnation, milliseconds left, what it tells, incarnation, ...
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local span = tonumber(ARGV[3])
if span > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now + span) .. ARGV[2])
  redis.call('PEXPIRE', KEYS[1], span * 10)
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
local living = {}
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local space = string.find(all[i + 1], ' ', 1, true)
  local dies = space and tonumber(string.sub(all[i + 1], 1, space - 1))
  if dies and dies > now then
    living[#living + 1] = all[i]
    living[#living + 1] = dies - now
    living[#living + 1] = string.sub(all[i + 1], space + 1)
  else
    redis.call('HDEL', KEYS[2], all[i])
  end
end
return living
