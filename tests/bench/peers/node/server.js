// The guide's server on npm's socket.io with its Redis adapter, one process a server.
//
//   REDIS_PORT=6379 node server.js
//
// Listens on a free port of 127.0.0.1 and says which on the first line of stdout. SIGTERM ends it.
"use strict";

const crypto = require("node:crypto");
const http = require("node:http");

const { createAdapter } = require("@socket.io/redis-adapter");
const { Redis } = require("ioredis");
const { Server } = require("socket.io");

const { MessageStore, SessionStore } = require("./stores");

const redis = new Redis({ host: "127.0.0.1", port: Number(process.env.REDIS_PORT) });
const httpServer = http.createServer();
const io = new Server(httpServer, {
  cors: { origin: "http://localhost:8080" },
  adapter: createAdapter(redis, redis.duplicate()),
});
const sessions = new SessionStore(redis);
const messages = new MessageStore(redis);

const randomId = () => crypto.randomBytes(8).toString("hex");

io.use(async (socket, next) => {
  const { sessionID, username } = socket.handshake.auth;
  const session = sessionID ? await sessions.find(sessionID) : undefined;
  if (session) {
    socket.data = { sessionID, userID: session.userID, username: session.username };
    next();
  } else if (username) {
    socket.data = { sessionID: randomId(), userID: randomId(), username };
    next();
  } else {
    next(new Error("invalid username"));
  }
});

io.on("connection", async (socket) => {
  const { sessionID, userID, username } = socket.data;

  socket.on("private message", async ({ content, to }) => {
    const message = { content, from: userID, to };
    socket.to(to).to(userID).emit("private message", message);
    await messages.save(message);
  });

  socket.on("disconnect", async () => {
    const remaining = await io.in(userID).allSockets();
    if (remaining.size === 0) {
      socket.broadcast.emit("user disconnected", userID);
      await sessions.save(sessionID, { userID, username, connected: false });
    }
  });

  // As in the guide, nothing waits for this write: the list below may or may not hold the new session.
  sessions.save(sessionID, { userID, username, connected: true });
  socket.emit("session", { sessionID, userID });
  socket.join(userID);

  const [ownMessages, allSessions] = await Promise.all([messages.findForUser(userID), sessions.findAll()]);
  const byPeer = new Map();
  for (const message of ownMessages) {
    const peer = message.from === userID ? message.to : message.from;
    if (byPeer.has(peer)) {
      byPeer.get(peer).push(message);
    } else {
      byPeer.set(peer, [message]);
    }
  }
  socket.emit(
    "users",
    allSessions.map((session) => ({
      userID: session.userID,
      username: session.username,
      connected: session.connected,
      messages: byPeer.get(session.userID) || [],
    })),
  );
  socket.broadcast.emit("user connected", { userID, username, connected: true, messages: [] });
});

process.on("SIGTERM", () => process.exit(0));
httpServer.listen(0, "127.0.0.1", () => console.log(httpServer.address().port));
