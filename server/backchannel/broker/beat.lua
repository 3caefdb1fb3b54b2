-- A sign of life: renew a gateway's lease, and tell which gateways are gone and which rooms have something due.
--
-- KEYS  1 state   hash: `epoch`, `born`, `replid` as in log.lua: which presence all this is; `settled`, until when its
--                 rooms wait for the gateways to enter their connections anew; `beat`, when anybody was here last (ms)
--       2 leases  sorted set: gateways, by when their lease ends (ms)
--       3 dead    sorted set: gateways that are gone and whose connections have not all left, by when they were there
--                 last (ms)
--       4 due     sorted set: "ms:channel", by when a room is to be looked at (ms)
-- ARGV  1 the gateway; empty for whoever only helps
--       2 1: it is new
--       3 how long a lease is, in milliseconds
--       4 the grace, in milliseconds
--       5 the epoch that the caller knows; empty if none
--       6 a random epoch, for a presence that begins anew
--       7 how many rooms are told at most
--       8 for how many milliseconds they are the caller's
--       9 how many milliseconds the keys are kept
-- Reply {1 if the gateway holds its lease, or 0 if it came too late and is counted as gone, epoch, settled, now,
--       {gateway, when it was there last, ...}, {"ms:channel", ...}}

local STATE, LEASES, DEAD, DUE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local gateway, lease, grace, claim = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[8])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local found = redis.call('HMGET', STATE, 'epoch', 'born', 'replid', 'settled', 'beat')
local epoch, born, settled, last = found[1], tonumber(found[2]), tonumber(found[4] or 0), tonumber(found[5])
if found[3] ~= replid then
  settled = epoch and now + grace or 0
  epoch, born = ARGV[6], now
  redis.call('HSET', STATE, 'epoch', epoch, 'born', born, 'replid', replid, 'settled', settled)
end
if ARGV[5] ~= '' and ARGV[5] ~= epoch and settled == 0 then
  -- The caller was there before: what is here now is not all there is.
  settled = born + grace
  redis.call('HSET', STATE, 'settled', settled)
end

local reached = string.format('%.0f', now + lease)
-- Where nobody was here for a while, Redis could not be reached: nobody is late then, and nothing is due until those
-- who could not say so have said what happened meanwhile.
local stalled = last and now - last > lease / 2
if stalled then
  for _, each in ipairs(redis.call('ZRANGE', LEASES, 0, -1)) do
    redis.call('ZADD', LEASES, reached, each)
  end
else
  local late = redis.call('ZRANGE', LEASES, '-inf', '(' .. string.format('%.0f', now), 'BYSCORE', 'WITHSCORES')
  for i = 1, #late, 2 do
    redis.call('ZREM', LEASES, late[i])
    redis.call('ZADD', DEAD, late[i + 1] - lease, late[i])
  end
end
local held = 1
if gateway ~= '' then
  if ARGV[2] == '1' or redis.call('ZSCORE', LEASES, gateway) then
    redis.call('ZADD', LEASES, reached, gateway)
  else
    held = 0
  end
end
redis.call('HSET', STATE, 'beat', now)

local dead, due = {}, {}
if not stalled then
  dead = redis.call('ZRANGE', DEAD, 0, 9, 'WITHSCORES')
  due = redis.call('ZRANGE', DUE, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[7])
  for _, each in ipairs(due) do
    redis.call('ZADD', DUE, now + claim, each)
  end
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[9])
end
return {held, epoch, settled, now, dead, due}
