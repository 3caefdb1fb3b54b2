-- Change who is present on a channel: apply what connections did, and what has become due. What listeners are to know
-- is published by the same step.
--
-- KEYS  1 room     hash: `epoch`, `revision`, `replid` as in log.lua; `settled`, until when the room waits for the
--                  gateways to enter their connections anew (0: it does not); `noting`, until when somebody tells
--                  the notes
--       2 users    hash: user to "connections since": how many connections, over all gateways, and since when (ms)
--       3 leaving  sorted set: users without a connection, by when they are gone (ms)
--       4 holders  set: gateways with connections here
--       5 rows     hash: connection to user, of the gateway in ARGV 3; its key ends with that gateway's name
--       6 the channel's topic
--       7 notes    hash: user to "1 revision" for one who came and is to be told of, "0 revision" for one who is gone
-- ARGV  1 PUBLISH, or SPUBLISH on a cluster
--       2 the channel
--       3 the gateway whose connections these are; empty for none
--       4 the grace, in milliseconds
--       5 since when that gateway is gone (ms): its connections leave. 0: it is there
--       6 how many milliseconds the keys are kept
--       7 a random epoch, for a room that begins anew
--       8 the highest revision that the caller knows of this room; 0 if it knows none
--       9 until when rooms that begin anew are to wait (ms); 0 or past: they need not
--       10 how many users or connections may be dealt with in one step, beside those named
--       11 for how many milliseconds notes are the caller's to tell; 0: none are wanted
--       12, 13 ... connection, user; the user is empty for a connection that leaves
-- Reply {epoch, revision, when something is due here next (ms; 0: never), connections left of a gateway that is gone,
--       until when somebody tells the notes (ms; 0: there are none), {user, note, ...} for the caller to tell};
--       the epoch is empty where there is no room and nothing to begin one for.
--
-- The message is MessagePack, [channel, revision, count, [{user, since}, ...] joined, [user, ...] left]. Without any
-- joined or left it says that the whole list is to be read.

local ROOM, USERS, LEAVING, HOLDERS, ROWS, NOTES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[7]
local gateway, grace, gone, kept = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local known, settle, most = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local claim = tonumber(ARGV[11])
local FIRST = 12

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local found = redis.call('HMGET', ROOM, 'epoch', 'revision', 'replid', 'settled')
local epoch, revision, settled = found[1], tonumber(found[2] or 0), tonumber(found[4] or 0)
if not epoch and known == 0 and #ARGV < FIRST then
  return {'', 0, 0, 0, 0, {}}
end

if not epoch or found[3] ~= replid then
  -- Nobody knows what a history that began anew has forgotten: every gateway enters its connections again, and until
  -- they have had time for it nobody is told that anyone left. Revisions go on from the clock, so they never go back.
  local prefix = string.sub(ROWS, 1, #ROWS - #gateway)
  for _, holder in ipairs(redis.call('SMEMBERS', HOLDERS)) do
    redis.call('UNLINK', prefix .. holder)
  end
  redis.call('UNLINK', ROWS, USERS, LEAVING, HOLDERS, NOTES)
  revision = math.max(revision, known, time[1] * 1000000 + time[2])
  settled = 0
  if epoch or known > 0 or settle > now then
    settled = math.max(now + grace, settle)
  end
  epoch = ARGV[7]
  redis.call('HSET', ROOM, 'epoch', epoch, 'revision', revision, 'replid', replid, 'settled', settled)
  redis.call('HDEL', ROOM, 'noting')
end

local changed = false
local joined = {}

local function leave(connection, due)
  local user = redis.call('HGET', ROWS, connection)
  if not user then
    return
  end
  redis.call('HDEL', ROWS, connection)
  local entry = redis.call('HGET', USERS, user)
  if not entry then
    return
  end
  local count, since = string.match(entry, '^(%d+) (%d+)$')
  redis.call('HSET', USERS, user, (count - 1) .. ' ' .. since)
  if count == '1' then
    redis.call('ZADD', LEAVING, due, user)
  end
end

local function enter(connection, user)
  local before = redis.call('HGET', ROWS, connection)
  if before == user then
    return
  elseif before then
    leave(connection, now + grace)
  end
  redis.call('HSET', ROWS, connection, user)
  local entry = redis.call('HGET', USERS, user)
  if entry then
    local count, since = string.match(entry, '^(%d+) (%d+)$')
    if count == '0' then
      redis.call('ZREM', LEAVING, user)
    end
    redis.call('HSET', USERS, user, (count + 1) .. ' ' .. since)
  else
    redis.call('HSET', USERS, user, '1 ' .. string.format('%.0f', now))
    joined[#joined + 1] = {user = user, since = now}
    changed = true
  end
end

if #ARGV >= FIRST then
  for i = FIRST, #ARGV, 2 do
    if ARGV[i + 1] ~= '' then
      enter(ARGV[i], ARGV[i + 1])
    else
      leave(ARGV[i], now + grace)
    end
  end
  if redis.call('EXISTS', ROWS) == 1 then
    redis.call('SADD', HOLDERS, gateway)
  else
    redis.call('SREM', HOLDERS, gateway)
  end
end
local rows = 0
if gone > 0 then
  for _, connection in ipairs(redis.call('HRANDFIELD', ROWS, most)) do
    leave(connection, gone + grace)
  end
  rows = redis.call('HLEN', ROWS)
  if rows == 0 then
    redis.call('SREM', HOLDERS, gateway)
  end
end

local whole = false
if settled > 0 and settled <= now then
  settled = 0
  redis.call('HSET', ROOM, 'settled', 0)
  whole = true
end
local left = {}
if settled == 0 then
  left = redis.call('ZRANGE', LEAVING, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
  if #left > 0 then
    redis.call('ZREM', LEAVING, unpack(left))
    redis.call('HDEL', USERS, unpack(left))
    changed = true
  end
end
if changed or whole then
  revision = revision + 1
  if claim > 0 then
    for _, member in ipairs(joined) do
      redis.call('HSET', NOTES, member.user, '1 ' .. string.format('%.0f', revision))
    end
    for _, user in ipairs(left) do
      redis.call('HSET', NOTES, user, '0 ' .. string.format('%.0f', revision))
    end
  end
  redis.call('HSET', ROOM, 'revision', revision)
  if settled == 0 then
    if whole then
      joined, left = {}, {}
    end
    local message = {ARGV[2], revision, redis.call('HLEN', USERS), joined, left}
    redis.call(ARGV[1], KEYS[6], cmsgpack.pack(message))
  end
end

local noting, notes = 0, {}
if claim > 0 and redis.call('EXISTS', NOTES) == 1 then
  noting = tonumber(redis.call('HGET', ROOM, 'noting') or 0)
  if noting <= now then
    noting = now + claim
    redis.call('HSET', ROOM, 'noting', string.format('%.0f', noting))
    notes = redis.call('HRANDFIELD', NOTES, most, 'WITHVALUES')
  end
end

for _, key in ipairs({ROOM, USERS, LEAVING, HOLDERS, ROWS, NOTES}) do
  redis.call('PEXPIRE', key, kept)
end
local due = settled
if settled == 0 then
  due = tonumber(redis.call('ZRANGE', LEAVING, 0, 0, 'WITHSCORES')[2] or 0)
end
return {epoch, revision, due, rows, noting, notes}
