-- One step over all buckets of a request: the `Meter` of `rates.rs`, which it is held against.
--
--   <base>rate:<requests or tokens>:<name>  [level in sixty-thousandths, at]
-- Every number here is whole and below 2^53: limits and debts have a bound.

local base, op, at, count = ARGV[1], ARGV[2], ARGV[4], tonumber(ARGV[5])
local BUCKETS_FROM = 6

local MINUTE = 60000
local LEVEL_MIN = -3000000000000000
-- A bucket that is full need not be known; a little longer, for clocks.
local KEPT_LONGER = 60 * 1000

local now = tonumber(at)
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

-- Milliseconds until `missing` has come.
local function wait(missing, limit)
  return math.floor((math.max(missing, 0) + limit - 1) / limit)
end

local function bucket(index)
  local from = BUCKETS_FROM + index * 3
  local name, of, limit = ARGV[from], ARGV[from + 1], tonumber(ARGV[from + 2])
  if not name then return nil end
  local key = base .. 'rate:' .. of .. ':' .. name
  local most = limit * MINUTE
  local level, since = most, now
  local kept = redis.call('GET', key)
  if kept then
    level, since = unpack(cjson.decode(kept))
    level, since = tonumber(level), tonumber(since)
    level = math.min(level + math.max(now - since, 0) * limit, most)
    since = math.max(now, since)
  end
  return {key = key, of = of, limit = limit, most = most, level = level, since = since}
end

local function buckets()
  local index = -1
  return function()
    index = index + 1
    local one = bucket(index)
    if one then return index, one end
  end
end

local function take(taken, count)
  for _, one in buckets() do
    if one.of == taken then
      local level = math.max(one.level - count * MINUTE, LEVEL_MIN)
      local left = wait(one.most - level, one.limit) + KEPT_LONGER
      redis.call('SET', one.key, cjson.encode({whole(level), whole(one.since)}), 'PX', whole(left))
    end
  end
end

-- Index, what is left, and the time until it is full, of the bucket that has the least left.
local function tightest(of)
  local found
  for index, one in buckets() do
    local left = math.max(math.floor(one.level / MINUTE), 0)
    if one.of == of and (not found or left < found.left or (left == found.left and one.limit < found.limit)) then
      found = {index = index, left = left, limit = one.limit, reset = wait(one.most - one.level, one.limit)}
    end
  end
  if not found then return '' end
  return whole(found.index) .. ' ' .. whole(found.left) .. ' ' .. whole(found.reset)
end

if op == 'spent' then
  take('tokens', count)
  return {'done'}
end

local refused, longest = '', 0
for index, one in buckets() do
  local missing = MINUTE - one.level
  if missing > 0 and wait(missing, one.limit) > longest then
    longest = wait(missing, one.limit)
    refused = whole(index) .. ' ' .. whole(longest)
  end
end
if refused == '' then take('requests', 1) end
return {'admitted', refused, tightest('requests'), tightest('tokens')}
