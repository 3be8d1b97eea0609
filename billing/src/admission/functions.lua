#!lua name=callbus_admission_1
-- Admission of wallets, as functions of one slot per call. They only compare and add integers below 2^53; the state
-- machine of money/src/admission.rs does the same and is their oracle. The name carries the version, so that old and
-- new workers run side by side.
--
-- keys: 1 state (hash: currency status posted limit held seq)   2 open (hash leg -> amount)
--       3 tentative (zset leg by when it frees itself, ms)       4 ended (zset leg by when it is forgotten, ms)
--       5 decisions (hash leg -> decision)

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

local function loaded(keys)
  return redis.call('EXISTS', keys[1]) == 1
end

-- args: now, leg, amount, expires_at, decision
local function hold(keys, args)
  if not loaded(keys) then return { 'NOT_LOADED' } end
  local leg, amount = args[2], tonumber(args[3])
  sweep(keys, args[1])
  if redis.call('HEXISTS', keys[2], leg) == 1 then
    local decision = redis.call('HGET', keys[5], leg)
    if decision then return { 'DUP', decision } end
    return { 'CLOSED' }
  end
  if redis.call('ZSCORE', keys[4], leg) or redis.call('HGET', keys[1], 'status') ~= 'active' then
    return { 'CLOSED' }
  end
  if amount < 0 then amount = 0 end
  local available = number(keys[1], 'posted') + number(keys[1], 'limit') - number(keys[1], 'held')
  if amount > available then return { 'INSUFFICIENT', string.format('%.0f', available) } end
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

-- args: now
local function facts(keys, args)
  if not loaded(keys) then return { 'NOT_LOADED' } end
  sweep(keys, args[1])
  return redis.call('HMGET', keys[1], 'currency', 'status', 'posted', 'limit', 'held')
end

-- args: prev_seq, seq, ended_until, currency, then three per posting:
--   'top_up' '' amount | 'place' leg amount | 'end' leg amount | 'status' status '' | 'limit' '' amount
local function apply(keys, args)
  if not loaded(keys) then return { 'NOT_LOADED' } end
  local have, seq = number(keys[1], 'seq'), tonumber(args[2])
  if seq <= have then return { 'OLD' } end
  if tonumber(args[1]) ~= have then return { 'GAP', string.format('%.0f', have) } end
  redis.call('HSET', keys[1], 'seq', args[2])
  if redis.call('HGET', keys[1], 'currency') == '' then redis.call('HSET', keys[1], 'currency', args[4]) end
  for i = 5, #args, 3 do
    local what, leg, amount = args[i], args[i + 1], tonumber(args[i + 2])
    if what == 'top_up' then
      add(keys[1], 'posted', amount)
    elseif what == 'place' then
      local decision = redis.call('HGET', keys[5], leg)
      remove(keys, leg)
      insert(keys, leg, amount)
      if decision then redis.call('HSET', keys[5], leg, decision) end
    elseif what == 'end' then
      remove(keys, leg)
      add(keys[1], 'posted', -amount)
      redis.call('ZADD', keys[4], 'NX', args[3], leg)
    elseif what == 'status' then
      redis.call('HSET', keys[1], 'status', leg)
    elseif what == 'limit' then
      redis.call('HSET', keys[1], 'limit', args[i + 2])
    end
  end
  return { 'OK' }
end

-- args: currency, status, posted, limit, held, seq, number of holds, (leg amount)*, (leg ended_until)*
local function load(keys, args)
  if loaded(keys) then return { 'OLD' } end
  for i = 2, 5 do redis.call('DEL', keys[i]) end
  redis.call('HSET', keys[1], 'currency', args[1], 'status', args[2], 'posted', args[3], 'limit', args[4],
    'held', args[5], 'seq', args[6])
  local holds_end = 7 + 2 * tonumber(args[7])
  for i = 8, holds_end, 2 do redis.call('HSET', keys[2], args[i], args[i + 1]) end
  for i = holds_end + 1, #args, 2 do redis.call('ZADD', keys[4], args[i + 1], args[i]) end
  return { 'OK' }
end

redis.register_function('callbus_1_hold', hold)
redis.register_function('callbus_1_free', free)
redis.register_function('callbus_1_facts', facts)
redis.register_function('callbus_1_apply', apply)
redis.register_function('callbus_1_load', load)
