#!lua name=callbus_admission_3
-- Admission of wallets, as functions of one slot per call. They only compare and add integers below 2^53; the state
-- machine of money/src/admission.rs does the same and is their oracle. The name carries the version, so that old and
-- new workers run side by side.
--
-- keys: 1 state (hash: currency status posted limit held seq; limits, its JSON, and of them concurrent_max
--         calls_per_sec_max spend_day_max spend_month_max, '' where there is none; date, yyyymmdd, with spent_day and
--         spent_month; second with its calls)                      2 open (hash leg -> amount)
--       3 tentative (zset leg by when it frees itself, ms)       4 ended (zset leg by when it is forgotten, ms)
--       5 decisions (hash leg -> decision)                        6 grants that expire (zset grant by when, ms)
--       7 left (hash grant -> what is left of it)

local function number(key, field)
  return tonumber(redis.call('HGET', key, field))
end

local function add(key, field, amount)
  redis.call('HSET', key, field, string.format('%.0f', number(key, field) + amount))
end

local function remove(keys, leg)
  local amount = tonumber(redis.call('HGET', keys[2], leg))
  if amount then
    add(keys[1], 'held', -amount)
    redis.call('HDEL', keys[2], leg)
    redis.call('ZREM', keys[3], leg)
    redis.call('HDEL', keys[5], leg)
  end
end

local function insert(keys, leg, amount)
  add(keys[1], 'held', amount)
  redis.call('HSET', keys[2], leg, string.format('%.0f', amount))
end

local function sweep(keys, now)
  for _, leg in ipairs(redis.call('ZRANGEBYSCORE', keys[3], '-inf', now)) do
    remove(keys, leg)
  end
  redis.call('ZREMRANGEBYSCORE', keys[4], '-inf', now)
end

-- What a new hold may take: of what is left of expired grants nothing, but holds that stand on it stay covered.
local function available(keys, now)
  local expired = 0
  for _, grant in ipairs(redis.call('ZRANGEBYSCORE', keys[6], '-inf', now)) do
    expired = expired + number(keys[7], grant)
  end
  local free = number(keys[1], 'posted') - number(keys[1], 'held')
  return free - math.min(expired, math.max(free, 0)) + number(keys[1], 'limit')
end

local function add_to_grant(keys, grant, expires, amount)
  local left = (number(keys[7], grant) or 0) + amount
  if left > 0 then
    redis.call('HSET', keys[7], grant, string.format('%.0f', left))
    redis.call('ZADD', keys[6], expires, grant)
  else
    redis.call('HDEL', keys[7], grant)
    redis.call('ZREM', keys[6], grant)
  end
end

local function loaded(keys)
  return redis.call('EXISTS', keys[1]) == 1
end

-- The days of the calendar up to a date, yyyymmdd.
local function days(date)
  local year, month = math.floor(date / 10000), math.floor(date / 100) % 100
  if month < 3 then year, month = year - 1, month + 12 end
  return 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * month - 457) / 5) + date % 100
end

-- What was spent in the day and the month of a date. The day before counts for the newest; where that is further ahead,
-- the clock that said so was wrong.
local function spent_on(keys, date)
  local day, month, then_ = number(keys[1], 'spent_day'), number(keys[1], 'spent_month'), number(keys[1], 'date')
  if date <= then_ and days(then_) - days(date) <= 1 then return day, month, then_ end
  if math.floor(date / 100) ~= math.floor(then_ / 100) then month = 0 end
  return 0, month, date
end

local function spend(keys, date, amount)
  local day, month, latest = spent_on(keys, date)
  redis.call('HSET', keys[1], 'date', string.format('%.0f', latest), 'spent_day', string.format('%.0f', day + amount),
    'spent_month', string.format('%.0f', month + amount))
end

-- Whether a clock is so far behind the newest second that the clock before it was wrong.
local function is_behind(keys, second)
  return second < number(keys[1], 'second') - 5
end

-- Calls that began in this second. A clock that is a little behind counts with the newest second.
local function began_in(keys, second)
  if second > number(keys[1], 'second') or is_behind(keys, second) then return 0 end
  return number(keys[1], 'calls')
end

-- The first check that fails, in the order of the checks.
local function limit(keys, now, second, date, amount)
  local status = redis.call('HGET', keys[1], 'status')
  if status ~= 'active' then return { 'STATUS', status } end
  local concurrent_max = number(keys[1], 'concurrent_max')
  if concurrent_max and redis.call('HLEN', keys[2]) >= concurrent_max then return { 'CONCURRENT' } end
  local calls_max = number(keys[1], 'calls_per_sec_max')
  if calls_max and began_in(keys, second) >= calls_max then return { 'VELOCITY' } end
  local held = number(keys[1], 'held')
  local day, month = spent_on(keys, date)
  local left = number(keys[1], 'spend_day_max')
  if left and amount > left - day - held then return { 'SPEND_DAY', string.format('%.0f', left - day - held) } end
  left = number(keys[1], 'spend_month_max')
  if left and amount > left - month - held then return { 'SPEND_MONTH', string.format('%.0f', left - month - held) } end
  local available = available(keys, now)
  if amount > available then return { 'CREDIT', string.format('%.0f', available) } end
end

-- args: now, leg, amount, expires_at, decision, date
local function hold(keys, args)
  if not loaded(keys) then return { 'NOT_LOADED' } end
  local leg, amount = args[2], tonumber(args[3])
  sweep(keys, args[1])
  if redis.call('HEXISTS', keys[2], leg) == 1 then
    local decision = redis.call('HGET', keys[5], leg)
    if decision then return { 'DUP', decision } end
    return { 'CLOSED' }
  end
  if redis.call('ZSCORE', keys[4], leg) then return { 'CLOSED' } end
  if amount < 0 then amount = 0 end
  local second = math.floor(tonumber(args[1]) / 1000)
  local limited = limit(keys, args[1], second, tonumber(args[6]), amount)
  if limited then return limited end
  local calls, newest = began_in(keys, second) + 1, math.max(second, number(keys[1], 'second'))
  if is_behind(keys, second) then newest = second end
  redis.call('HSET', keys[1], 'second', string.format('%.0f', newest), 'calls', string.format('%.0f', calls))
  insert(keys, leg, amount)
  redis.call('ZADD', keys[3], args[4], leg)
  redis.call('HSET', keys[5], leg, args[5])
  return { 'OK' }
end

-- args: leg. Only a tentative hold is freed.
local function free(keys, args)
  if loaded(keys) and redis.call('ZSCORE', keys[3], args[1]) then remove(keys, args[1]) end
  return { 'OK' }
end

local function facts_now(keys, now)
  local found = redis.call('HMGET', keys[1], 'currency', 'status', 'posted', 'limit', 'held', 'limits',
    'date', 'spent_day', 'spent_month')
  table.insert(found, string.format('%.0f', available(keys, now)))
  return found
end

-- args: now
local function facts(keys, args)
  if not loaded(keys) then return { 'NOT_LOADED' } end
  sweep(keys, args[1])
  return facts_now(keys, args[1])
end

-- What the log has told, without tentative holds, and the last event. No args: no time passes.
local function firm(keys)
  if not loaded(keys) then return { 'NOT_LOADED' } end
  local found, held = facts_now(keys, 0), number(keys[1], 'held')
  for _, leg in ipairs(redis.call('ZRANGE', keys[3], 0, -1)) do held = held - number(keys[2], leg) end
  found[5] = string.format('%.0f', held)
  table.insert(found, redis.call('HGET', keys[1], 'seq'))
  return found
end

-- args: prev_seq, seq, ended_until, currency, then three per posting:
--   'add' '' amount | 'place' leg amount | 'end' leg '' | 'date' yyyymmdd '', of the charges that follow |
--   'charge' '' amount | 'set' field value | 'expires' ms '', of the grants that follow | 'grant' id amount
local function apply(keys, args)
  if not loaded(keys) then return { 'NOT_LOADED' } end
  local have, seq = number(keys[1], 'seq'), tonumber(args[2])
  if seq <= have then return { 'OLD' } end
  if tonumber(args[1]) ~= have then return { 'GAP', string.format('%.0f', have) } end
  redis.call('HSET', keys[1], 'seq', args[2])
  local currency = redis.call('HGET', keys[1], 'currency')
  if currency == '' then redis.call('HSET', keys[1], 'currency', args[4]) end
  if currency ~= '' and currency ~= args[4] then return { 'OK' } end
  local date, expires
  for i = 5, #args, 3 do
    local what, leg, amount = args[i], args[i + 1], tonumber(args[i + 2])
    if what == 'add' then
      add(keys[1], 'posted', amount)
    elseif what == 'place' then
      local decision = redis.call('HGET', keys[5], leg)
      remove(keys, leg)
      insert(keys, leg, amount)
      if decision then redis.call('HSET', keys[5], leg, decision) end
    elseif what == 'end' then
      remove(keys, leg)
      redis.call('ZADD', keys[4], 'NX', args[3], leg)
    elseif what == 'date' then
      date = tonumber(leg)
    elseif what == 'charge' then
      add(keys[1], 'posted', -amount)
      spend(keys, date, amount)
    elseif what == 'expires' then
      expires = leg
    elseif what == 'grant' then
      add_to_grant(keys, leg, expires, amount)
    elseif what == 'set' then
      redis.call('HSET', keys[1], leg, args[i + 2])
    end
  end
  return { 'OK' }
end

-- keys: staged open, staged ended. args: when they free themselves, number of holds, (leg amount)*, (leg ended_until)*
local function stage(keys, args)
  local holds_end = 2 + 2 * tonumber(args[2])
  for i = 3, holds_end, 2 do redis.call('HSET', keys[1], args[i], args[i + 1]) end
  for i = holds_end + 1, #args, 2 do redis.call('ZADD', keys[2], args[i + 1], args[i]) end
  for i = 1, 2 do redis.call('PEXPIRE', keys[i], args[1]) end
  return { 'OK' }
end

local function put_in_place(staged, key)
  redis.call('UNLINK', key)
  if redis.call('EXISTS', staged) == 1 then
    redis.call('RENAME', staged, key)
    redis.call('PERSIST', key)
  end
end

-- The tentative holds that the log says nothing of: leg, amount and expiry of each.
local function unheard_of(keys)
  local found = {}
  local tentative = redis.call('ZRANGE', keys[3], 0, -1, 'WITHSCORES')
  for i = 1, #tentative, 2 do
    local leg = tentative[i]
    if redis.call('HEXISTS', keys[8], leg) == 0 and not redis.call('ZSCORE', keys[9], leg) then
      table.insert(found, { leg, number(keys[2], leg), tentative[i + 1] })
    end
  end
  return found
end

-- keys: 8 and 9 are staged. args: 'first', or 'again' for a wallet that may be loaded, seq, number of holds and of ended
--   legs that are staged, number of fields, (field value)* of the state, (grant expires left)*
local function load(keys, args)
  local tentative, second, calls = {}, '0', '0'
  if loaded(keys) then
    if args[1] ~= 'again' or tonumber(args[2]) < number(keys[1], 'seq') then
      redis.call('UNLINK', keys[8], keys[9])
      return { 'OLD' }
    end
    tentative = unheard_of(keys)
    second, calls = unpack(redis.call('HMGET', keys[1], 'second', 'calls'))
  else
    redis.call('UNLINK', keys[5])
  end
  if redis.call('HLEN', keys[8]) ~= tonumber(args[3]) or redis.call('ZCARD', keys[9]) ~= tonumber(args[4]) then
    return { 'STAGED_TOO_SLOWLY' }
  end
  put_in_place(keys[8], keys[2])
  put_in_place(keys[9], keys[4])
  redis.call('UNLINK', keys[1], keys[3], keys[6], keys[7])
  local fields_end = 5 + 2 * tonumber(args[5])
  redis.call('HSET', keys[1], 'second', second, 'calls', calls, unpack(args, 6, fields_end))
  for i = fields_end + 1, #args, 3 do add_to_grant(keys, args[i], args[i + 1], tonumber(args[i + 2])) end
  for _, hold in ipairs(tentative) do
    insert(keys, hold[1], hold[2])
    redis.call('ZADD', keys[3], hold[3], hold[1])
  end
  for _, leg in ipairs(redis.call('HKEYS', keys[5])) do
    if redis.call('HEXISTS', keys[2], leg) == 0 then redis.call('HDEL', keys[5], leg) end
  end
  return { 'OK' }
end

redis.register_function('callbus_3_hold', hold)
redis.register_function('callbus_3_free', free)
redis.register_function('callbus_3_facts', facts)
redis.register_function('callbus_3_firm', firm)
redis.register_function('callbus_3_apply', apply)
redis.register_function('callbus_3_load', load)
redis.register_function('callbus_3_stage', stage)
