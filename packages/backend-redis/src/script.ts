import { type Script, script } from "./link.ts";

/** How many revisions watches can be resumed from, about; whoever has missed more is told of a gap. */
const historyRevisions = 10_000;
/** Large revisions are kept for less long: about so many bytes of them, but never fewer than the last hundred. */
const historyBytes = 64 * 1024 * 1024;

/** The keys of a space, in the script's order. All share one hash tag, so that a cluster keeps them on one primary. */
export function keysOf(space: string): readonly string[] {
  return ["meta", "entries", "order", "births", "changes", "leases", "held"].map((part) => `{${space}}:${part}`);
}

/** Where in `keysOf` the stream of changes is, which readers read by themselves. */
export const changesKey = 4;

/**
 * Everything that a client does to the store, as one script: Redis runs it as one step. What is kept:
 *
 * - `meta`     hash: `rev`, the last revision; `tail`, the id of the last change; `size`, of a change, on average in bytes
 * - `entries`  hash: key -> created (16 digits), modified (16), lease (32; all "-" for none), then the value
 * - `order`    sorted set of the keys, all of one score, which puts them in the order of their bytes
 * - `births`   sorted set of `directory \0 created \0 key`, a directory being a key up to its last "/"
 * - `changes`  stream: one entry for each revision (large ones have several), `after` naming the entry before it
 * - `leases`   sorted set: lease -> when it ends, in the server's milliseconds
 * - `held`     sorted set of `lease \0 key`
 *
 * A revision is the server's time in microseconds, and more than the last: a primary that lost its latest writes does not
 * give out their revisions again (a hybrid logical clock; Kulkarni et al., 2014). They are exact in Lua's numbers until
 * the year 2255. Strings are never compared by `<`, which would be by the server's locale.
 *
 * Redis undoes nothing when a script fails. So all that can fail comes before the first write.
 */
export const store: Script = script(String.raw`
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

-- Calls back with every entry of a range in the order of keys, until that returns true.
local function scan(min, max, page, visit)
  repeat
    local keys = call('ZRANGEBYLEX', ORDER, min, max, 'LIMIT', 0, page)
    if #keys == 0 then return end
    for index, packed in ipairs(call('HMGET', ENTRIES, unpack(keys))) do
      if visit(keys[index], packed) then return end
    end
    min = '(' .. keys[#keys]
  until #keys < page
end

-- By the index, the oldest or newest keys right below a directory, one more than the limit; nil where others lie deeper.
local function youngestOrOldest(prefix, order, limit, before)
  local from, to = '[' .. prefix .. '\0', '(' .. prefix .. (before and '\0' .. digits(before) or '\1')
  if prefix ~= '' and prefix:sub(-1) ~= '/' then return nil end
  if call('ZLEXCOUNT', BIRTHS, from, '(' .. prefix .. '\1') ~=
    call('ZLEXCOUNT', ORDER, '[' .. prefix, '(' .. prefix .. '\255') then return nil end
  if order == 'oldest' then return call('ZRANGEBYLEX', BIRTHS, from, to, 'LIMIT', 0, limit + 1) end
  -- Revision by revision, as the keys of one go in their own order.
  local members = {}
  while #members <= limit do
    local last = call('ZREVRANGEBYLEX', BIRTHS, to, from, 'LIMIT', 0, 1)[1]
    if not last then break end
    local revision = last:sub(1, #prefix + 17)
    local group = call('ZRANGEBYLEX', BIRTHS, '[' .. revision .. '\0', '(' .. revision .. '\1', 'LIMIT', 0, limit + 1)
    for _, member in ipairs(group) do members[#members + 1] = member end
    to = '(' .. revision
  end
  return members
end

local function list()
  local prefix, min, max, order, limit, before, keysOnly =
    take(), take(), take(), take(), tonumber(take()), tonumber(take()), take() == '1'
  local reply = { 0 }
  -- Adds an entry; true once there is no room for one.
  local function add(key, packed)
    if limit and #reply > 2 * limit then
      reply[1] = 1
      return true
    end
    reply[#reply + 1] = key
    reply[#reply + 1] = keysOnly and packed:sub(1, 64) or packed
  end
  local function isWanted(packed) return not before or createdOf(packed) < before end

  if order == 'key' then
    local page = math.min(limit and not before and limit + 1 or PAGE, PAGE)
    scan(min, max, page, function(key, packed) return isWanted(packed) and add(key, packed) end)
    return reply
  end
  local members = youngestOrOldest(prefix, order, limit, before)
  if members then
    for _, member in ipairs(members) do
      local key = member:sub(#prefix + 19)
      if add(key, call('HGET', ENTRIES, key)) then break end
    end
    return reply
  end
  local found, direction = {}, order == 'oldest' and 1 or -1
  scan(min, max, PAGE, function(key, packed)
    if isWanted(packed) then found[#found + 1] = { direction * createdOf(packed), #found, key, packed } end
  end)
  table.sort(found, function(one, other)
    if one[1] == other[1] then return one[2] < other[2] end
    return one[1] < other[1]
  end)
  for _, each in ipairs(found) do
    if add(each[3], each[4]) then break end
  end
  return reply
end

local function holds(kind, subject, wanted)
  if kind == 'empty' then return call('ZLEXCOUNT', ORDER, '[' .. subject, '(' .. subject .. '\255') == 0 end
  if kind == 'noneModifiedAfter' then
    local none, revision = true, tonumber(wanted)
    scan('[' .. subject, '(' .. subject .. '\255', PAGE, function(_, packed)
      none = modifiedOf(packed) <= revision
      return not none
    end)
    return none
  end
  if kind == 'exists' then return call('HEXISTS', ENTRIES, subject) == tonumber(wanted) end
  local packed = call('HGET', ENTRIES, subject)
  if not packed then return false end
  return wanted == (kind == 'created' and packed:sub(1, 16) or packed:sub(17, 32))
end

local function put(revision, key, lease, value)
  local old = call('HGET', ENTRIES, key)
  local created = old and old:sub(1, 16) or revision
  if not old then
    call('ZADD', ORDER, 0, key)
    call('ZADD', BIRTHS, 0, birth(key, created))
  elseif leaseOf(old) ~= lease then
    release(key, old)
  end
  if lease ~= FREE then call('ZADD', HELD, 0, lease .. '\0' .. key) end
  local packed = created .. revision .. lease .. value
  call('HSET', ENTRIES, key, packed)
  return packed
end

local commands = {}

function commands.get() return { call('HGET', ENTRIES, take()) } end

function commands.list() return list() end

function commands.commit()
  local lease, succeeded = take(), 1
  for _ = 1, tonumber(take()) do
    local kind, subject, wanted = take(), take(), take()
    if succeeded == 1 and not holds(kind, subject, wanted) then succeeded = 0 end
  end
  if succeeded == 1 and lease ~= '' and not isAlive(lease) then return { -1 } end

  -- Writes in one pass, then reads in another: those see all writes, wherever they stand.
  local reply, fields, revision = { succeeded }, {}, digits(nextRevision())
  local function tell(field, packed)
    fields[#fields + 1] = field
    fields[#fields + 1] = packed
  end
  for _ = 1, tonumber(take()) do
    local kind, key = take(), take()
    if kind == 'put' then
      local isLeased, value = take() == '1', take()
      if succeeded == 1 then
        tell('p' .. key, put(revision, key, isLeased and lease or FREE, value))
        reply[#reply + 1] = 0
      end
    elseif succeeded == 1 then
      local old = call('HGET', ENTRIES, key)
      if old then
        release(key, old)
        drop({ key }, { old })
        tell('d' .. key, '')
      end
      reply[#reply + 1] = old and 1 or 0
    end
  end
  if #fields > 0 then publish(fields) end
  for branch = 1, 0, -1 do
    for _ = 1, tonumber(take()) do
      if take() == 'get' then
        local key = take()
        if branch == succeeded then reply[#reply + 1] = call('HGET', ENTRIES, key) end
      elseif branch == succeeded then
        reply[#reply + 1] = list()
      else
        taken = taken + 7
      end
    end
  end
  return reply
end

-- Granting again what was granted renews it: the client named it, and asks again only where no answer came.
function commands.grant()
  local lease, ttlMs = take(), tonumber(take())
  call('ZADD', LEASES, nowMs + ttlMs, lease)
  return {}
end

function commands.keepAlive()
  local lease, ttlMs = take(), tonumber(take())
  if not isAlive(lease) then return { 0 } end
  call('ZADD', LEASES, nowMs + ttlMs, lease)
  return { 1 }
end

function commands.revoke()
  finish(take())
  return {}
end

-- When the next lease ends, in milliseconds from now, and what the last change was.
function commands.tick()
  local first = call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')
  return { first[2] and math.max(0, math.ceil(tonumber(first[2]) - nowMs)) or -1, tail }
end

local answer = commands[command]()
return { digits(rev), answer }
`);
