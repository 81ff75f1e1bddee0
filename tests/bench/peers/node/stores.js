// What the guide keeps in Redis, in the shapes the guide gives it: a hash a session, a list of messages a user.
"use strict";

const TTL_SECONDS = 24 * 60 * 60;
const SCAN_COUNT = 100;

/** Sessions: hash `session:<sessionID>` with userID, username, connected. */
class SessionStore {
  constructor(redis) {
    this.redis = redis;
  }

  /** Resolves to the session, or to undefined when there is none (or it has expired). */
  async find(sessionID) {
    return toSession(await this.redis.hmget(`session:${sessionID}`, "userID", "username", "connected"));
  }

  async save(sessionID, { userID, username, connected }) {
    const key = `session:${sessionID}`;
    await this.redis
      .multi()
      .hset(key, "userID", userID, "username", username, "connected", String(connected))
      .expire(key, TTL_SECONDS)
      .exec();
  }

  /** Every session there is: a SCAN over the whole database, then one HMGET a session in one batch. */
  async findAll() {
    const keys = new Set();
    let cursor = "0";
    do {
      const [next, page] = await this.redis.scan(cursor, "MATCH", "session:*", "COUNT", SCAN_COUNT);
      cursor = next;
      for (const key of page) {
        keys.add(key);
      }
    } while (cursor !== "0");
    const commands = Array.from(keys, (key) => ["hmget", key, "userID", "username", "connected"]);
    const replies = await this.redis.multi(commands).exec();
    return replies.map(([error, fields]) => (error ? undefined : toSession(fields))).filter(Boolean);
  }
}

/** Messages: list `messages:<userID>`, each message in the list of both of its users. */
class MessageStore {
  constructor(redis) {
    this.redis = redis;
  }

  async save(message) {
    const value = JSON.stringify(message);
    const from = `messages:${message.from}`;
    const to = `messages:${message.to}`;
    await this.redis
      .multi()
      .rpush(from, value)
      .rpush(to, value)
      .expire(from, TTL_SECONDS)
      .expire(to, TTL_SECONDS)
      .exec();
  }

  async findForUser(userID) {
    const values = await this.redis.lrange(`messages:${userID}`, 0, -1);
    return values.map((value) => JSON.parse(value));
  }
}

function toSession([userID, username, connected]) {
  return userID ? { userID, username, connected: connected === "true" } : undefined;
}

module.exports = { SessionStore, MessageStore };
