-- Changes one key, if it holds what is expected. An entry is kept as "VERSION:EXPIRES:VALUE".
-- KEYS: entries, keys in order, keys by their end, bytes in use
-- ARGV: key, now, keys at most, bytes at most, expected ("any", "absent" or a version), entry ("" to delete), its end ("" for none)
local key, now, entry = ARGV[1], tonumber(ARGV[2]), ARGV[6]
local raw = redis.call('HGET', KEYS[1], key)

local function size(name, kept)
  if not kept then return 0 end
  local _, head = string.find(kept, '^%d+:%d*:')
  return #name + #kept - head
end

local function remove(name, kept)
  redis.call('HDEL', KEYS[1], name)
  redis.call('ZREM', KEYS[2], name)
  redis.call('ZREM', KEYS[3], name)
  redis.call('DECRBY', KEYS[4], size(name, kept))
end

local found, version = raw, ''
if raw then
  local is, ends = string.match(raw, '^(%d+):(%d*):')
  if ends ~= '' and tonumber(ends) <= now then found = false else version = is end
end
if ARGV[5] == 'absent' then
  if found then return {'stale', found} end
elseif ARGV[5] ~= 'any' and ARGV[5] ~= version then
  return {'stale', found or ''}
end

if entry == '' then
  if raw then remove(key, raw) end
  return {'done', ''}
end

local function full()
  local keys, bytes = redis.call('HLEN', KEYS[1]), tonumber(redis.call('GET', KEYS[4]) or '0')
  local keys_then, bytes_then = keys + (raw and 0 or 1), bytes - size(key, raw) + size(key, entry)
  if keys_then > tonumber(ARGV[3]) and keys_then > keys then return 'keys' end
  if bytes_then > tonumber(ARGV[4]) and bytes_then > bytes then return 'bytes' end
end

local why = full()
if why then
  -- What is over takes up room until it is needed.
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do
    remove(name, redis.call('HGET', KEYS[1], name))
    if name == key then raw = false end
  end
  why = full()
end
if why then return {why, ''} end

redis.call('INCRBY', KEYS[4], size(key, entry) - size(key, raw))
redis.call('HSET', KEYS[1], key, entry)
redis.call('ZADD', KEYS[2], 0, key)
if ARGV[7] == '' then redis.call('ZREM', KEYS[3], key) else redis.call('ZADD', KEYS[3], ARGV[7], key) end
return {'done', ''}
