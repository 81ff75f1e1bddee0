-- Write something, so that the connection can wait until this and everything before it is confirmed.
--
-- The script exists in one life of the server only: when it is found, all that was written in that life is
-- still there.
--
-- Keys: a key of this server
-- Result: 1
redis.call('SET', KEYS[1], INCARNATION, 'PX', 60000)
return 1
