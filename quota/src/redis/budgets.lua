-- One step over all accounts of a call: `ledger.rs`, which it is held against, on keys of one hash tag.
--
-- An amount is a whole number up to 2^64 - 1, as decimal text in Redis and as two halves here: a number of Lua's alone
-- would be exact up to 2^53 only.
--   <base>account:<name>  what is spent, what is set aside, when it ends
--   <base>call:<id>       [stage, due, tokens, nano_usd, names of accounts]
--   <base>leases          ids of calls under way, by the end of their leases
-- What a key says of time decides; how long Redis keeps it only cleans up.

local base, op, epoch, at, id = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lease = tonumber(ARGV[6])
local ACCOUNTS_FROM = 11

local REMEMBERED = 24 * 60 * 60 * 1000
local SETTLED = 60 * 60 * 1000
local KEPT_LONGER = 60 * 1000
-- Leases that one step ends beside its own, so that none takes long.
local LEASES_MAX = 256

local found = redis.call('GET', KEYS[1]) or ''
if found ~= epoch then
  return {'epoch', found}
end

local now = tonumber(at)
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local HALF = 1000000000
local MOST = {18446744073, 709551615}

local function number(text)
  if #text <= 9 then return {0, tonumber(text)} end
  return {tonumber(text:sub(1, -10)), tonumber(text:sub(-9))}
end

local function text(n)
  if n[1] == 0 then return string.format('%d', n[2]) end
  return string.format('%d%09d', n[1], n[2])
end

local function below(a, b)
  return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
end

local function plus(a, b)
  local low = a[2] + b[2]
  local carry = low >= HALF and 1 or 0
  local sum = {a[1] + b[1] + carry, low - carry * HALF}
  return below(MOST, sum) and MOST or sum
end

local function minus(a, b)
  if below(a, b) then return {0, 0} end
  local low = a[2] - b[2]
  local borrow = low < 0 and 1 or 0
  return {a[1] - b[1] - borrow, low + borrow * HALF}
end

local UNITS = {'nano_usd', 'tokens'}
local function amount(tokens, nano_usd)
  return {tokens = number(tokens), nano_usd = number(nano_usd)}
end

local function added(a, b)
  return {tokens = plus(a.tokens, b.tokens), nano_usd = plus(a.nano_usd, b.nano_usd)}
end

local function taken(a, b)
  return {tokens = minus(a.tokens, b.tokens), nano_usd = minus(a.nano_usd, b.nano_usd)}
end

local function account(name)
  local key = base .. 'account:' .. name
  local kept = redis.call('HMGET', key,
    'spent_tokens', 'spent_nano_usd', 'reserved_tokens', 'reserved_nano_usd', 'ends_at')
  if kept[5] and tonumber(kept[5]) + REMEMBERED <= now then
    redis.call('DEL', key)
    kept = {}
  end
  return {
    key = key,
    known = kept[1] and true or false,
    spent = amount(kept[1] or '0', kept[2] or '0'),
    reserved = amount(kept[3] or '0', kept[4] or '0'),
  }
end

local function keep(one, ends_at)
  redis.call('HSET', one.key,
    'spent_tokens', text(one.spent.tokens), 'spent_nano_usd', text(one.spent.nano_usd),
    'reserved_tokens', text(one.reserved.tokens), 'reserved_nano_usd', text(one.reserved.nano_usd))
  if not one.known and ends_at and ends_at ~= '' then
    redis.call('HSET', one.key, 'ends_at', ends_at)
    local left = math.max(tonumber(ends_at) + REMEMBERED - now, 0)
    redis.call('PEXPIRE', one.key, string.format('%.0f', left + KEPT_LONGER))
  end
end

local function put(id, stage, due, amount, names)
  local key = base .. 'call:' .. id
  local kept = cjson.encode({stage, string.format('%.0f', due), text(amount.tokens), text(amount.nano_usd), names})
  if stage == 'reserved' then
    redis.call('SET', key, kept)
    redis.call('ZADD', base .. 'leases', string.format('%.0f', due), id)
  else
    local left = math.max(due - now, 0) + KEPT_LONGER
    redis.call('SET', key, kept, 'PX', string.format('%.0f', left))
    redis.call('ZREM', base .. 'leases', id)
  end
end

local function call(id)
  local kept = redis.call('GET', base .. 'call:' .. id)
  if not kept then return nil end
  local stage, due, tokens, nano_usd, names = unpack(cjson.decode(kept))
  return {stage = stage, due = tonumber(due), amount = amount(tokens, nano_usd), names = names}
end

-- What a call was set aside is taken for spent when its lease has ended.
local function lapse(id)
  local one = call(id)
  if not one or one.stage ~= 'reserved' or one.due > now then return end
  for _, name in ipairs(one.names) do
    local charged = account(name)
    if charged.known then
      charged.reserved = taken(charged.reserved, one.amount)
      charged.spent = added(charged.spent, one.amount)
      keep(charged)
    end
  end
  put(id, 'assumed', one.due + REMEMBERED, one.amount, one.names)
end

-- The call as it stands now; nothing of one that is forgotten.
local function standing(id)
  lapse(id)
  local one = call(id)
  if one and (one.stage == 'reserved' or one.due > now) then return one end
end

local wanted = amount(ARGV[7], ARGV[8])

local function accounts()
  local next = ACCOUNTS_FROM - 4
  return function()
    next = next + 4
    local name = ARGV[next]
    if not name then return nil end
    local limits = {tokens = ARGV[next + 1], nano_usd = ARGV[next + 2]}
    return name, limits, ARGV[next + 3], (next - ACCOUNTS_FROM) / 4
  end
end

-- The first that has no room, or the first that has none for good.
local function refusal()
  local first
  for name, limits, _, index in accounts() do
    local one = account(name)
    for _, unit in ipairs(UNITS) do
      local limit = limits[unit]
      local spent, reserved, more = one.spent[unit], one.reserved[unit], wanted[unit]
      if limit ~= '' and below(number(limit), plus(plus(spent, reserved), more)) then
        local told = {'refused', string.format('%d', index), unit, text(spent), text(reserved)}
        if below(number(limit), plus(spent, more)) then return told end
        first = first or told
        break
      end
    end
  end
  return first
end

local OPS = {}

function OPS.reserve()
  if standing(id) then return {'held'} end
  local refused = refusal()
  if refused then return refused end
  local names = {}
  for name, _, ends_at in accounts() do
    local one = account(name)
    one.reserved = added(one.reserved, wanted)
    keep(one, ends_at)
    names[#names + 1] = name
  end
  put(id, 'reserved', now + lease, wanted, names)
  return {'held'}
end

function OPS.renew()
  local one = standing(id)
  if one and one.stage == 'reserved' then put(id, 'reserved', now + lease, one.amount, one.names) end
  return {'done'}
end

function OPS.settle()
  local known = standing(id)
  local stage = known and known.stage
  if stage == 'settled' then return {'done'} end
  local spent = amount(ARGV[9], ARGV[10])
  for name, _, ends_at in accounts() do
    local one = account(name)
    if stage == 'reserved' then one.reserved = taken(one.reserved, wanted) end
    if stage == 'assumed' then one.spent = taken(one.spent, wanted) end
    one.spent = added(one.spent, spent)
    keep(one, ends_at)
  end
  put(id, 'settled', now + SETTLED, amount('0', '0'), {})
  return {'done'}
end

-- What is known otherwise to be spent, where Redis has lost it: at least that.
function OPS.restore()
  local known = amount(ARGV[9], ARGV[10])
  for name, _, ends_at in accounts() do
    local one = account(name)
    for _, unit in ipairs(UNITS) do
      if below(one.spent[unit], known[unit]) then one.spent[unit] = known[unit] end
    end
    keep(one, ends_at)
  end
  return {'done'}
end

function OPS.balance()
  for name in accounts() do
    local one = account(name)
    return {'balance', text(one.spent.tokens), text(one.spent.nano_usd),
      text(one.reserved.tokens), text(one.reserved.nano_usd)}
  end
end

for _, lapsed in ipairs(redis.call('ZRANGEBYSCORE', base .. 'leases', '-inf', string.format('%.0f', now),
  'LIMIT', 0, LEASES_MAX)) do
  lapse(lapsed)
end
return OPS[op]()
