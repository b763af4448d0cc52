/** The second part of the script: lists, and what is decided by looking. */
export const reads: string = String.raw`
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
`;
