-- What append.lua and read.lua share: it is put before either. A channel's live log lies in three keys of one slot:
--
--   head  hash: `epoch`; `offset` of the newest event; `replid`, the Redis history that both belong to; `until`, when
--         the newest event ages out; `kept`, when the keys expire. Instants are Unix milliseconds by Redis's clock.
--   log   list, one element per event that is kept, oldest first: when it ages out (8 bytes, big-endian), the id of its
--         publication (16 bytes, zeros for none), the event as it was published. Offsets are dense: an event's place
--         in the list tells its offset.
--   ids   hash: the id of each publication in the log to its offset. An id leaves with its event.

-- The head outlives what it counts by so much, so that a quiet channel keeps its epoch; whoever listens asks for the
-- head often enough to keep it longer.
local LINGER = 3600000
local ID = 16
local NO_ID = string.rep('\0', ID)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function keep(head, log, ids, kept)
  redis.call('PEXPIREAT', head, kept)
  redis.call('PEXPIREAT', log, kept)
  redis.call('PEXPIREAT', ids, kept)
  redis.call('HSET', head, 'kept', kept)
end

-- The log's epoch, newest offset, oldest element (false: it has none), and until when its keys are kept. A log begins
-- anew, in the epoch `fresh`, where there is none, where it lost its events before they aged out, and where it belongs
-- to another Redis history: a server that restarted, or that was a replica, may have forgotten events that were already
-- heard.
local function open(head, log, ids, fresh)
  local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  local found = redis.call('HMGET', head, 'epoch', 'offset', 'replid', 'until', 'kept')
  local oldest = redis.call('LINDEX', log, 0)
  if found[1] and found[3] == replid and (oldest or now >= tonumber(found[4])) then
    return found[1], tonumber(found[2]), oldest, tonumber(found[5])
  end
  redis.call('DEL', head, log, ids)
  redis.call('HSET', head, 'epoch', fresh, 'offset', 0, 'replid', replid, 'until', 0)
  keep(head, log, ids, now + LINGER)
  return fresh, 0, false, now + LINGER
end

-- Let go of so many of the oldest, at least one.
local function drop(log, ids, count)
  -- Elements that Lua gets are hashed as a whole, which costs more than asking first.
  if count > 1 and redis.call('EXISTS', ids) == 0 then
    redis.call('LTRIM', log, count, -1)
    return
  end
  local named = {}
  for _, element in ipairs(redis.call('LPOP', log, count)) do
    local id = string.sub(element, 9, 8 + ID)
    if id ~= NO_ID then
      named[#named + 1] = id
    end
  end
  if #named > 0 then
    redis.call('HDEL', ids, unpack(named))
  end
end

-- Let go of what has aged out. Returns the element that is the oldest then.
local function trim(log, ids, oldest)
  while oldest and struct.unpack('>I8', oldest) <= now do
    drop(log, ids, 1)
    oldest = redis.call('LINDEX', log, 0)
  end
  return oldest
end
