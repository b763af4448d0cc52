/** How many revisions watches can be resumed from, about; whoever has missed more is told of a gap. */
const historyRevisions = 10_000;
/** Large revisions are kept for less long: about so many bytes of them, but never fewer than the last hundred. */
const historyBytes = 64 * 1024 * 1024;

/**
 * The first part of the script: takes the store up where the last call left it, ends the leases whose time is over, and has
 * what every change of the store goes through.
 */
export const state: string = String.raw`
local META, ENTRIES, ORDER, BIRTHS, CHANGES, LEASES, HELD = unpack(KEYS)
local FREE, PAGE, PART = ('-'):rep(32), 1000, 3000
local call = redis.call

local taken = 0
local function take()
  taken = taken + 1
  return ARGV[taken]
end

local command, enlarges, seen = take(), take() == '1', tonumber(take())

-- A write that does nothing. A replica, and a primary that may not write, refuse even reads by it: they would show the
-- state of another time. One that has no room left refuses here what would enlarge it, and nothing later.
if enlarges then call('ZADD', LEASES, 'XX', 0, '') else call('ZREM', LEASES, '') end

local time = call('TIME')
local nowUs = tonumber(time[1]) * 1000000 + tonumber(time[2])
local nowMs = nowUs / 1000
local meta = call('HMGET', META, 'rev', 'tail', 'size')
local rev, tail, size = tonumber(meta[1] or '0'), meta[2] or '0-0', tonumber(meta[3] or '0')

local function digits(number) return ('%016.0f'):format(number) end
local function createdOf(packed) return tonumber(packed:sub(1, 16)) end
local function modifiedOf(packed) return tonumber(packed:sub(17, 32)) end
local function leaseOf(packed) return packed:sub(33, 64) end
local function birth(key, created) return (key:match('^.*/') or '') .. '\0' .. created .. '\0' .. key end

local function remember() call('HSET', META, 'rev', digits(rev), 'tail', tail, 'size', size) end

-- A client knows of revisions that were lost with another primary. They must not be given out again.
if seen > rev then
  rev = seen
  remember()
end

local function nextRevision() return math.max(rev + 1, nowUs) end

-- Makes it the next revision, and tells watchers what it changed: 'p' and a key with its entry, 'd' and a key with nothing.
local function publish(fields)
  rev = nextRevision()
  local bytes = 0
  for _, field in ipairs(fields) do bytes = bytes + #field end
  size = size + (bytes - size) / 100
  local most = math.max(100, math.min(${historyRevisions}, math.floor(${historyBytes} / size)))
  local part, from = 0, 1
  repeat
    local to = math.min(from + 2 * PART - 1, #fields)
    local id = ('%.0f-%d'):format(rev, part)
    call('XADD', CHANGES, 'MAXLEN', '~', most, id, 'after', tail, 'more', to < #fields and 1 or 0,
      unpack(fields, from, to))
    tail, part, from = id, part + 1, to + 1
  until from > #fields
  remember()
end

-- Takes away keys, at most PART of them, that have these entries.
local function drop(keys, entries)
  local born = {}
  for index, key in ipairs(keys) do born[index] = birth(key, entries[index]:sub(1, 16)) end
  call('HDEL', ENTRIES, unpack(keys))
  call('ZREM', ORDER, unpack(keys))
  call('ZREM', BIRTHS, unpack(born))
end

local function release(key, packed)
  if leaseOf(packed) ~= FREE then call('ZREM', HELD, leaseOf(packed) .. '\0' .. key) end
end

-- Ends a lease, and all its keys in one revision.
local function finish(lease)
  call('ZREM', LEASES, lease)
  local min, max, fields = '[' .. lease .. '\0', '(' .. lease .. '\1', {}
  repeat
    local keys = call('ZRANGEBYLEX', HELD, min, max, 'LIMIT', 0, PART)
    if #keys == 0 then break end
    call('ZREM', HELD, unpack(keys))
    for index, member in ipairs(keys) do
      keys[index] = member:sub(34)
      fields[#fields + 1] = 'd' .. keys[index]
      fields[#fields + 1] = ''
    end
    drop(keys, call('HMGET', ENTRIES, unpack(keys)))
  until false
  if #fields > 0 then publish(fields) end
end

-- Before anything else: nobody sees, or uses, a lease whose time is over.
for _, lease in ipairs(call('ZRANGEBYSCORE', LEASES, '-inf', nowMs)) do finish(lease) end

local function isAlive(lease) return call('ZSCORE', LEASES, lease) end
`;
