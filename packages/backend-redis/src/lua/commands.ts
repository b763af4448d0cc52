/** The last part of the script: what it can be asked for, and its answer. */
export const commands: string = String.raw`
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
`;
