/** A small in-memory server of the wire contract, on the npm package socket.io, with handles for tests. */

import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { Server, type Socket } from "socket.io";

import type { Message, UserEntry } from "../src/chat/contract";

interface User {
  userID: string;
  username: string;
  sockets: Set<Socket>;
}

type Ack = (answer: unknown) => void;

const id = (): string => randomBytes(8).toString("hex");
const pair = (a: string, b: string): string => [a, b].sort().join(":");

export class ContractServer {
  readonly users = new Map<string, User>();
  readonly sessions = new Map<string, string>();
  /** Ids of `private message` in the order in which they arrived, repeats included. */
  readonly received: string[] = [];
  /** Answers a `private message` instead of storing it; "drop" stores it and does not answer. */
  intercept: ((message: { id: string; content: string }) => object | "drop" | null) | null = null;
  /** Runs when a message is stored and not yet acknowledged. */
  beforeAck: (() => void) | null = null;
  /** Hears of every `read`. */
  onRead: ((seq: number) => void) | null = null;
  /** Reads are lost on the way. */
  loseReads = false;
  /** Users whom `users` leaves out, as it does above its cap. */
  readonly unlisted = new Set<string>();
  /** Token -> username; when set, every connect must show one of them. */
  tokens: Map<string, string> | null = null;
  /** Pairs "who whom", as many as blocks and mutes. */
  readonly blocks = new Set<string>();
  readonly mutes = new Set<string>();
  /** Lines in one page of an export. */
  exportPage = 2;
  private readonly messages = new Map<string, Message[]>();
  private readonly reads = new Map<string, number>();
  private readonly http = createServer();
  private readonly io: Server;

  private constructor(recovery: boolean) {
    this.io = new Server(this.http, recovery ? { connectionStateRecovery: {} } : {});
    this.io.use((socket, next) => {
      const refused = this.admit(socket);
      next(refused === null ? undefined : new Error(refused));
    });
    this.io.on("connection", (socket) => this.connected(socket));
  }

  static async start({ recovery = false } = {}): Promise<ContractServer> {
    const server = new ContractServer(recovery);
    await new Promise<void>((resolve) => server.http.listen(0, "127.0.0.1", resolve));
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.http.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    await this.io.close();
  }

  /** Break every connection as a network does: no packet says so. */
  cut(): void {
    for (const socket of this.io.sockets.sockets.values()) socket.conn.close();
  }

  add(username: string): string {
    const userID = id();
    this.users.set(userID, { userID, username, sockets: new Set() });
    return userID;
  }

  conversation(a: string, b: string): Message[] {
    const key = pair(a, b);
    if (!this.messages.has(key)) this.messages.set(key, []);
    return this.messages.get(key)!;
  }

  /** Store a message without anybody sending it; `deliver` tells whether sockets hear of it. */
  store(from: string, to: string, content: string, deliver = true): Message {
    const list = this.conversation(from, to);
    const message = { id: id(), seq: list.length + 1, at: 1_700_000_000_000 + list.length * 1000, from, to, content };
    list.push(message);
    if (deliver) this.io.to(to).to(from).emit("private message", message);
    return message;
  }

  emit(user: string, event: string, ...args: unknown[]): void {
    this.io.to(user).emit(event, ...args);
  }

  /** End a session as an administrator or another browser does. */
  end(sessionID: string, reason: string): void {
    if (reason !== "kicked") this.sessions.delete(sessionID);
    for (const socket of this.io.sockets.sockets.values()) {
      if ((socket.data as { sessionID: string }).sessionID !== sessionID) continue;
      socket.emit("session ended", { reason });
      socket.disconnect();
    }
  }

  relations(me: string): { blocked: string[]; muted: string[] } {
    const of = (pairs: Set<string>): string[] =>
      [...pairs].filter((pair) => pair.startsWith(`${me} `)).map((pair) => pair.slice(me.length + 1));
    return { blocked: of(this.blocks), muted: of(this.mutes) };
  }

  private admit(socket: Socket): string | null {
    const auth = socket.handshake.auth as Record<string, string>;
    let username = auth["username"];
    if (this.tokens !== null) {
      username = this.tokens.get(auth["token"] ?? "");
      if (username === undefined) return auth["token"] === undefined ? "invalid token" : "token expired";
    }
    const known = this.sessions.get(auth["sessionID"] ?? "");
    if (known === undefined && !username) return "invalid username";
    const sessionID = known === undefined ? id() : auth["sessionID"]!;
    const userID = known ?? this.add(username!);
    this.sessions.set(sessionID, userID);
    Object.assign(socket.data, { userID, sessionID });
    return null;
  }

  private connected(socket: Socket): void {
    const { userID: me, sessionID } = socket.data as { userID: string; sessionID: string };
    const user = this.users.get(me)!;
    user.sockets.add(socket);
    void socket.join(me);
    if (!socket.recovered) {
      socket.emit("session", { sessionID, userID: me });
      socket.emit(
        "users",
        [...this.users.values()].filter((other) => !this.unlisted.has(other.userID)).map((other) => this.entry(me, other)),
      );
      socket.broadcast.emit("user connected", { userID: me, username: user.username, connected: true, messages: [] });
    }
    const told = this.relations(me);
    if (told.blocked.length + told.muted.length > 0) socket.emit("relations", told);
    this.personal(socket, me, sessionID);
    socket.on("private message", (body: { id: string; to: string; content: string }, ack: Ack) => {
      this.received.push(body.id);
      const answer = this.intercept?.(body) ?? null;
      if (answer !== null && answer !== "drop") return ack(answer);
      if (this.blocks.has(`${me} ${body.to}`) || this.blocks.has(`${body.to} ${me}`)) {
        return ack({ ok: false, code: "blocked", message: "One of the two has blocked the other.", retryable: false });
      }
      const list = this.conversation(me, body.to);
      let message = list.find((item) => item.id === body.id);
      if (message === undefined) {
        message = { ...body, from: me, seq: list.length + 1, at: Date.now() };
        list.push(message);
        socket.to(body.to).to(me).emit("private message", message);
      }
      this.beforeAck?.();
      if (answer !== "drop") ack({ ok: true, id: message.id, seq: message.seq, at: message.at });
    });
    socket.on("history", (body: { with: string; before?: number; limit: number }, ack: Ack) => {
      const page = this.conversation(me, body.with)
        .filter((message) => message.seq < (body.before ?? Infinity))
        .slice(-body.limit);
      ack({ ok: true, messages: page, before: (page[0]?.seq ?? 1) > 1 ? page[0]!.seq : null });
    });
    socket.on("users", (body: { query: string; after?: string; limit: number }, ack: Ack) => {
      const found = [...this.users.values()]
        .filter((other) => other.username.startsWith(body.query) && other.userID > (body.after ?? ""))
        .sort((a, b) => (a.userID < b.userID ? -1 : 1));
      const users = found.slice(0, body.limit).map((other) => this.entry(me, other));
      ack({ ok: true, users, after: found.length > body.limit ? users.at(-1)!.userID : null });
    });
    socket.on("typing", ({ to }: { to: string }) => this.io.to(to).emit("typing", { from: me }));
    socket.on("read", (body: { with: string; seq: number }, ack: Ack) => {
      this.onRead?.(body.seq);
      if (this.loseReads) return;
      this.reads.set(`${me} ${body.with}`, body.seq);
      this.io.to(body.with).to(me).emit("read", { from: me, to: body.with, seq: body.seq });
      ack({ ok: true });
    });
    socket.on("disconnect", () => {
      user.sockets.delete(socket);
      if (user.sockets.size === 0) this.io.emit("user disconnected", me);
    });
  }

  private personal(socket: Socket, me: string, sessionID: string): void {
    const own = (): string[] => [...this.sessions].filter(([, user]) => user === me).map(([session]) => session);
    for (const [event, pairs, on] of [
      ["block", this.blocks, true],
      ["unblock", this.blocks, false],
      ["mute", this.mutes, true],
      ["unmute", this.mutes, false],
    ] as const) {
      socket.on(event, ({ user }: { user: string }, ack: Ack) => {
        pairs[on ? "add" : "delete"](`${me} ${user}`);
        socket.to(me).emit("relations", this.relations(me));
        ack({ ok: true, ...this.relations(me) });
      });
    }
    socket.on("relations", (_: object, ack: Ack) => ack({ ok: true, ...this.relations(me) }));
    socket.on("sessions", (_: object, ack: Ack) => {
      const sessions = own().map((session, index) => ({
        session: `handle of ${session}`,
        used: index,
        current: session === sessionID,
      }));
      ack({ ok: true, sessions });
    });
    socket.on("log out", (which: { session?: string; all?: boolean }, ack: Ack) => {
      const ending = own().filter((session) =>
        which.all ? true : which.session === undefined ? session === sessionID : which.session === `handle of ${session}`,
      );
      ack({ ok: true, ended: ending.length });
      for (const session of ending) this.end(session, "log out");
    });
    socket.on("export", ({ after }: { after?: string }, ack: Ack) => {
      const all = [...this.messages.values()].flat().filter((message) => message.from === me);
      const start = Number(after ?? 0);
      const end = start + this.exportPage;
      ack({ ok: true, lines: all.slice(start, end), after: end < all.length ? String(end) : null });
    });
    socket.on("erase", ({ userID }: { userID: string }, ack: Ack) => {
      if (userID !== me) return ack({ ok: false, code: "malformed", message: "not yours", retryable: false });
      ack({ ok: true, job: "job" });
      this.users.delete(me);
      for (const session of own()) this.end(session, "erased");
    });
  }

  private entry(me: string, { userID, username, sockets }: User): UserEntry {
    const messages = this.conversation(me, userID);
    const read = this.reads.get(`${me} ${userID}`) ?? 0;
    return {
      userID,
      username,
      connected: sockets.size > 0,
      messages: messages.slice(-50),
      seq: messages.length,
      unread: messages.filter((message) => message.from !== me && message.seq > read).length,
      read: this.reads.get(`${userID} ${me}`) ?? 0,
    };
  }
}
