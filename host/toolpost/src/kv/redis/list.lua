-- The first keys of a range that are not over.
-- KEYS: keys in order, keys by their end
-- ARGV: now, where to begin, where to end, how many
local now, from, most = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[4])
local found = {}
while #found < most do
  local page = redis.call('ZRANGEBYLEX', KEYS[1], from, ARGV[3], 'LIMIT', 0, most)
  for _, key in ipairs(page) do
    local ends = redis.call('ZSCORE', KEYS[2], key)
    if #found < most and not (ends and tonumber(ends) <= now) then found[#found + 1] = key end
  end
  if #page < most then break end
  from = '(' .. page[#page]
end
return found
