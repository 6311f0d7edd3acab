-- One step of a limit that hosts share: takes note of what one of its holders reports, and grants it
-- times to start at, by the clock of this server. Times are microseconds.
--
-- A permit counts from when it is granted until it leaves the window. A time is granted at which the
-- permits that have not left by then, those for later times among them, leave room for one more. So
-- each grant holds whatever is granted afterwards, and nobody who is granted a time is overtaken.
--
-- KEYS  the numbers of the limit (hash), its permits by when they leave (sorted set), who holds it
--       (hash), the last reply to this holder (string)
-- ARGV  1 the request, another one unless it is sent again    2 the holder   3 the channel of news
--       4 limit, per, burst   5 limit   6 burst or 0   7 the time between paced permits
--       8 how long a permit counts that starts as late as it may
--       9 the generation known to the holder, or 0   10 the highest permit it was granted
--       11 how long ago it was told anything   12 1 if permits of its own still count
--       13 1 if this clock has moved against the holder's   14 pause until then, or 0
--       15 permits wanted   16 of that weight   17 not before   18 so many of them at any time, the
--       rest only if they may start now, or the first few of them within 5 ms
--       19 tell when so many would be granted, or 0   20 1 if the holder is to hear its own channel
--       21 who the holder is   22 1 if those numbers are to hold for everybody from now on
--       23 1 if the limit in effect was cut   24 how many permits follow that are given back, then
--       those, and the rest in pairs: a permit that leaves then, or with a + one to be counted so long
-- Returns the time, the generation, the last permit, until when all pause, until when nothing is
-- granted, what 19 asks for; then each permit granted and its time.

local state, permits, holders, last = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local request, holder, channel, numbers = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local limit, burst, interval = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local stays, age = tonumber(ARGV[8]), tonumber(ARGV[11])
local known, highest = tonumber(ARGV[9]), tonumber(ARGV[10])

-- How far this clock may be set back before nothing is known of when permits leave.
local STEP = 500000
-- Who is busy gets so many permits in advance that start so soon. More would be unfair to others.
local FEW, SOON = 8, 5000
-- Milliseconds that a reply is kept for a holder who sends its request again.
local KEPT = 60000
local HOUR = 3600000

local function whole(number)
  return string.format('%.0f', number)
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

local kept = redis.call('HMGET', state, 'numbers', 'generation', 'last', 'weight', 'now', 'paused',
  'closed', 'learns_since', 'earned', 'longest', 'paused_by')
local function field(index)
  return tonumber(kept[index] or 0)
end
local generation, count, total = field(2), field(3), field(4)
local paused, closed, learns_since = field(6), field(7), field(8)
local earned, longest, paused_by = field(9), math.max(field(10), stays), kept[11] or ''
local is_new, set_back = not kept[1], false

if now < field(5) then
  if field(5) - now > STEP then
    set_back = true
    paused = now + math.max(paused - field(5), 0)
    redis.call('DEL', permits)
    total, earned, closed = 0, 0, 0
  else
    now = field(5)
  end
end

local function weight_of(permit)
  return tonumber(string.match(permit, ':(%d+)$'))
end

-- Where every permit weighs one, it is enough to count them.
local function all_are_single()
  return total == redis.call('ZCARD', permits)
end

local function forget_those_that_left()
  local until_now = whole(now)
  if all_are_single() then
    total = total - redis.call('ZREMRANGEBYSCORE', permits, '-inf', until_now)
    return
  end
  for _, permit in ipairs(redis.call('ZRANGEBYSCORE', permits, '-inf', until_now)) do
    total = total - weight_of(permit)
  end
  redis.call('ZREMRANGEBYSCORE', permits, '-inf', until_now)
end

if redis.call('EXISTS', permits) == 0 then
  total = 0
end
forget_those_that_left()

local others = kept[1] and kept[1] ~= numbers
if others then
  if ARGV[22] == '1' then
    -- What counts stays so much longer as the window is longer.
    local window = '^%d+ (%d+)'
    local longer = tonumber(string.match(numbers, window)) - tonumber(string.match(kept[1], window))
    for _, permit in ipairs(redis.call('ZRANGE', permits, 0, -1)) do
      redis.call('ZINCRBY', permits, whole(longer / 1000), permit)
    end
    forget_those_that_left()
  elseif total > 0 or paused > now or closed > now then
    return redis.error_reply('NUMBERS ' .. kept[1])
  else
    earned = 0
  end
  longest = stays
end

-- Something is lost: of what was granted, not all is here, or it is not known when it leaves.
local behind = known ~= 0 and known == generation and count < highest
local is_other = known ~= 0 and known ~= generation and ARGV[12] == '1'
local is_covered = learns_since > 0 and learns_since >= now - age
local lost = set_back or behind or (is_other or ARGV[13] == '1') and not is_covered
if lost then
  closed = math.max(closed, now + longest)
  learns_since = now
end
local changed = lost or is_new
if changed then
  -- Numbered by the clock, so that no number is given twice.
  count = math.max(count, highest, now) + 1
  generation = count
end

-- When that weight is granted at the earliest, from then on.
local function earliest(from, weight)
  if all_are_single() then
    local counted = redis.call('ZCOUNT', permits, '(' .. whole(from), '+inf')
    local over = counted + weight - limit
    if over <= 0 then
      return from
    end
    local place = whole(total - counted + over - 1)
    return tonumber(redis.call('ZRANGE', permits, place, place, 'WITHSCORES')[2])
  end
  local counted, at, first = total, from, 0
  while true do
    local some = redis.call('ZRANGE', permits, whole(first), whole(first + 63), 'WITHSCORES')
    if #some == 0 then
      return at
    end
    for index = 1, #some, 2 do
      local leaves = tonumber(some[index + 1])
      if leaves > at then
        if counted + weight <= limit then
          return at
        end
        at = leaves
      end
      counted = counted - weight_of(some[index])
    end
    first = first + 64
  end
end

local function due(weight, not_before)
  local from = math.max(now, paused, closed, not_before)
  if burst > 0 then
    from = math.max(from, math.ceil(earned - (burst - weight) * interval))
  end
  return earliest(from, weight)
end

local granted, is_repeated = {}, false
local before = redis.call('GET', last)
if before and string.sub(before, 1, #request + 1) == request .. ' ' then
  is_repeated = true
  for number in string.gmatch(string.sub(before, #request + 2), '%d+') do
    granted[#granted + 1] = tonumber(number)
  end
end

if not is_repeated then
  local place = 25 + tonumber(ARGV[24])
  for index = 25, place - 1 do
    local permit = ARGV[index]
    if redis.call('ZREM', permits, permit) == 1 then
      local weight = weight_of(permit)
      total = total - weight
      -- Only the last that was granted, or those who came after it would start too close together.
      if permit == whole(count) .. ':' .. whole(weight) then
        earned = earned - weight * interval
      end
    end
  end
  for index = place, #ARGV, 2 do
    local permit, leaves = ARGV[index], ARGV[index + 1]
    if string.sub(permit, 1, 1) ~= '+' then
      redis.call('ZADD', permits, 'XX', leaves, permit)
    elseif tonumber(leaves) > now and redis.call('ZADD', permits, leaves, permit) == 1 then
      total = total + weight_of(permit)
    end
  end
  forget_those_that_left()

  local pause = tonumber(ARGV[14])
  if pause > paused then
    paused, paused_by = pause, ARGV[21]
    redis.call('PUBLISH', channel, 'pause ' .. whole(paused))
  end

  local weight, firm = tonumber(ARGV[16]), tonumber(ARGV[18])
  local few = firm > 0 and firm + FEW or 0
  if closed <= now then
    for index = 1, tonumber(ARGV[15]) do
      local at = due(weight, tonumber(ARGV[17]))
      if index > firm and at > (index <= few and now + SOON or now) then
        break
      end
      count = count + 1
      redis.call('ZADD', permits, whole(at + stays), whole(count) .. ':' .. whole(weight))
      total = total + weight
      earned = math.max(earned, at) + weight * interval
      granted[#granted + 1] = count
      granted[#granted + 1] = at
    end
  end
end

local asked = tonumber(ARGV[19])
local answer = asked > 0 and due(asked, 0) or 0

redis.call('HSET', state, 'numbers', numbers, 'generation', whole(generation), 'last', whole(count),
  'weight', whole(total), 'now', whole(now), 'paused', whole(paused), 'closed', whole(closed),
  'learns_since', whole(learns_since), 'earned', string.format('%.3f', earned),
  'longest', whole(longest), 'paused_by', paused_by)
redis.call('HSET', holders, holder, whole(now) .. ' ' .. ARGV[21])
if not is_repeated then
  local texts = { request, '' }
  for index, number in ipairs(granted) do
    texts[index + 1] = whole(number)
  end
  redis.call('SET', last, table.concat(texts, ' '), 'PX', KEPT)
end

local farthest = redis.call('ZREVRANGE', permits, 0, 0, 'WITHSCORES')[2]
local needed = math.max(tonumber(farthest or 0), now + longest, paused, closed) - now
-- Rounded up, and a second more than the holders take it to be.
local milliseconds = math.ceil(needed / 1000) + 1000
redis.call('PEXPIRE', state, whole(milliseconds))
redis.call('PEXPIRE', permits, whole(milliseconds))
redis.call('PEXPIRE', holders, whole(math.max(milliseconds, HOUR)))

if changed then
  redis.call('PUBLISH', channel, 'generation ' .. whole(generation))
end
if others then
  redis.call('PUBLISH', channel, 'numbers ' .. numbers)
end
if ARGV[23] == '1' and not is_repeated then
  redis.call('PUBLISH', channel, 'cut ' .. holder)
end
if ARGV[20] == '1' then
  redis.call('PUBLISH', channel .. ':' .. holder, 'heard')
end

local reply = { now, generation, count, paused, closed, answer }
for index, number in ipairs(granted) do
  reply[6 + index] = number
end
return reply
