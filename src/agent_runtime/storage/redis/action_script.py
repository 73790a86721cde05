"""The script that writes a commit of actions, all of it or nothing: Redis runs it without anything in between.

An action is a hash: `record` holds what never changes, the other fields what does. It stands in sorted sets, by id, of
all actions, of its scope's and of its job's, each for its status and for any; pending ones with an expiry stand in
`due`, ended ones in `ended`, from where they are deleted when their time has come. Pending ones are never deleted.
A token's hash leads to a hash of its action and the approver it belongs to; a sorted set of an action's tokens says which go with it.

All keys have one prefix in braces, so that they lie in one slot.
"""

from __future__ import annotations

from typing import Final

WRITE: Final = """
local next_argument = 1
local function take()
  local value = ARGV[next_argument]
  next_argument = next_argument + 1
  return value
end

local prefix, commit_seconds, at, at_text, forget = take(), take(), take(), take(), take()

local function key(...)
  return prefix .. ':' .. table.concat({...}, ':')
end

local function indexes(status, scope, job)
  local found = {key('i', status, 'all'), key('i', status, 'scope', scope)}
  if job ~= '' then
    found[3] = key('i', status, 'job', job)
  end
  return found
end

local function add(status, scope, job, id)
  for _, index in ipairs(indexes(status, scope, job)) do
    redis.call('ZADD', index, 0, id)
  end
end

local function remove(status, scope, job, id)
  for _, index in ipairs(indexes(status, scope, job)) do
    redis.call('ZREM', index, id)
  end
end

if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'written'}
end

local created = {}
for n = 1, tonumber(take()) do
  local id, scope, job = take(), take(), take()
  local expires, votes, record = take(), take(), take()
  created[n] = {id = id, scope = scope, job = job, expires = expires, votes = votes, record = record}
  created[id] = true
  if redis.call('EXISTS', key('a', id)) == 1 then
    return {'exists', id}
  end
end

local tokens = {}
for n = 1, tonumber(take()) do
  local token, id, approver = take(), take(), take()
  tokens[n] = {token = token, id = id, approver = approver}
  if not created[id] and redis.call('EXISTS', key('a', id)) == 0 then
    return {'unknown', id}
  end
  if redis.call('EXISTS', key('t', token)) == 1 then
    return {'exists', id}
  end
end

local changed = {}
for n = 1, tonumber(take()) do
  local id, status, votes_before = take(), take(), take()
  local resolution, resolved_by, votes, votes_after = take(), take(), take(), take()
  local before = redis.call('HMGET', key('a', id), 'status', 'votes_count', 'scope', 'job')
  if not before[1] then
    return {'unknown', id}
  end
  if before[1] ~= 'pending' or before[2] ~= votes_before then
    return {'resolved', id, before[1]}
  end
  changed[n] = {
    id = id, status = status, scope = before[3], job = before[4], resolution = resolution,
    resolved_by = resolved_by, votes = votes, votes_after = votes_after,
  }
end

for _, new in ipairs(created) do
  redis.call('HSET', key('a', new.id), 'record', new.record, 'status', 'pending', 'scope', new.scope, 'job', new.job,
    'votes', new.votes, 'votes_count', '0')
  add('any', new.scope, new.job, new.id)
  add('pending', new.scope, new.job, new.id)
  if new.expires ~= '' then
    redis.call('ZADD', key('due'), new.expires, new.id)
  end
end

for _, token in ipairs(tokens) do
  redis.call('HSET', key('t', token.token), 'action', token.id, 'approver', token.approver)
  redis.call('ZADD', key('of', token.id), 0, token.token)
end

for _, change in ipairs(changed) do
  local action = key('a', change.id)
  if change.votes ~= '' then
    redis.call('HSET', action, 'votes', change.votes, 'votes_count', change.votes_after)
  end
  if change.resolution ~= '' then
    redis.call('HSET', action, 'resolution', change.resolution)
  end
  if change.resolved_by ~= '' then
    redis.call('HSET', action, 'resolved_by', change.resolved_by)
  end
  if change.status ~= 'pending' then
    redis.call('HSET', action, 'status', change.status, 'resolved_at', at_text)
    remove('pending', change.scope, change.job, change.id)
    add(change.status, change.scope, change.job, change.id)
    redis.call('ZREM', key('due'), change.id)
    redis.call('ZADD', key('ended'), at, change.id)
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('ended'), '-inf', forget, 'LIMIT', 0, 100)) do
  local old = redis.call('HMGET', key('a', id), 'status', 'scope', 'job')
  if old[1] then
    remove('any', old[2], old[3], id)
    remove(old[1], old[2], old[3], id)
    for _, token in ipairs(redis.call('ZRANGE', key('of', id), 0, -1)) do
      redis.call('DEL', key('t', token))
    end
    redis.call('DEL', key('a', id), key('of', id))
  end
  redis.call('ZREM', key('ended'), id)
end

redis.call('SET', KEYS[1], '1', 'EX', commit_seconds)
return {'written'}
"""
"""KEYS: the commit's own key. ARGV: see `arguments` of `actions`."""
