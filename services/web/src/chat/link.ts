/**
 * The connection to the server: one Socket.IO socket with the credentials of one session.
 *
 * It tells its owner what arrives, already checked, and asks the server what the owner wants to know. The
 * Socket.IO client reconnects by itself and recovers missed events where the server still has them.
 */

import { io, type Socket } from "socket.io-client";

import {
  type Announcement,
  type ExportPage,
  type HistoryPage,
  type Message,
  type OwnSession,
  parseAnnouncement,
  parseDone,
  parseEnded,
  parseExport,
  parseHistory,
  parseMessage,
  parseRead,
  parseRelations,
  parseSendAck,
  parseSession,
  parseSessions,
  parseTyping,
  parseUser,
  parseUsers,
  parseUsersPage,
  type ReadEvent,
  type Relations,
  type SendAck,
  type UserEntry,
  type UsersPage,
} from "./contract";

/** What the server says, in the order in which it says it. */
export interface LinkEvents {
  /** Connected. When `recovered`, missed events follow; otherwise `session` and `users` do. */
  connect(recovered: boolean): void;
  disconnect(): void;
  /** The server refuses these credentials; the link will not try again. */
  refused(message: string): void;
  session(sessionID: string, userID: string): void;
  users(entries: UserEntry[]): void;
  userConnected(entry: UserEntry): void;
  userDisconnected(userID: string): void;
  message(message: Message): void;
  read(event: ReadEvent): void;
  typing(userID: string): void;
  relations(relations: Relations): void;
  announcement(announcement: Announcement): void;
  /** The session has ended, and the server is about to close the socket for good. */
  ended(reason: string): void;
}

/** What a user can decide about another. */
export type Relating = "block" | "unblock" | "mute" | "unmute";

/** How long an answer may take. The server answers within its own deadline, which is shorter. */
const ANSWER_MS = 20_000;
/** Spread of the return after the server has closed the socket for good reason, such as a restart. */
const RETURN_MS = 3_000;

export class Link {
  private readonly socket: Socket;
  private returning: ReturnType<typeof setTimeout> | undefined;

  constructor(url: string, auth: () => Record<string, string>, on: LinkEvents) {
    this.socket = io(url, { forceNew: true, autoConnect: false, auth: (give) => give(auth()) });
    this.socket.on("connect", () => on.connect(this.socket.recovered));
    this.socket.on("disconnect", (reason) => {
      on.disconnect();
      // The one reason after which the client would stay away for ever.
      if (reason === "io server disconnect") {
        this.returning = setTimeout(() => this.socket.connect(), Math.random() * RETURN_MS);
      }
    });
    this.socket.on("connect_error", (error) => {
      // An active socket has merely not reached the server, and tries again by itself.
      if (!this.socket.active) on.refused(error.message);
    });
    this.socket.on("session", (value) => {
      const { sessionID, userID } = parseSession(value);
      on.session(sessionID, userID);
    });
    this.socket.on("users", (value) => on.users(parseUsers(value)));
    this.socket.on("user connected", (value) => on.userConnected(parseUser(value)));
    this.socket.on("user disconnected", (value) => on.userDisconnected(String(value)));
    this.socket.on("private message", (value) => on.message(parseMessage(value)));
    this.socket.on("read", (value) => on.read(parseRead(value)));
    this.socket.on("typing", (value) => on.typing(parseTyping(value)));
    this.socket.on("relations", (value) => on.relations(parseRelations(value)));
    this.socket.on("announcement", (value) => on.announcement(parseAnnouncement(value)));
    this.socket.on("session ended", (value) => on.ended(parseEnded(value)));
  }

  open(): void {
    this.socket.connect();
  }

  /** Try now instead of when the next attempt is due: the network or the person is back. */
  hurry(): void {
    if (this.socket.connected || !this.socket.active) return;
    this.socket.disconnect().connect();
  }

  /** Leave for good. Nothing is reported afterwards. */
  close(): void {
    clearTimeout(this.returning);
    this.socket.removeAllListeners();
    this.socket.disconnect();
  }

  get connected(): boolean {
    return this.socket.connected;
  }

  async send(message: { id: string; to: string; content: string }): Promise<SendAck> {
    return parseSendAck(await this.ask("private message", message));
  }

  async history(peer: string, before: number | null, limit: number): Promise<HistoryPage> {
    return parseHistory(await this.ask("history", { with: peer, limit, ...(before === null ? {} : { before }) }));
  }

  async users(query: string, after: string | null, limit: number): Promise<UsersPage> {
    return parseUsersPage(await this.ask("users", { query, limit, ...(after === null ? {} : { after }) }));
  }

  async read(peer: string, seq: number): Promise<void> {
    parseDone(await this.ask("read", { with: peer, seq }));
  }

  typing(peer: string): void {
    if (this.socket.connected) this.socket.volatile.emit("typing", { to: peer });
  }

  async relate(how: Relating, user: string): Promise<Relations> {
    return parseRelations(await this.ask(how, { user }));
  }

  async relations(): Promise<Relations> {
    return parseRelations(await this.ask("relations", {}));
  }

  async sessions(): Promise<OwnSession[]> {
    return parseSessions(await this.ask("sessions", {}));
  }

  /** End this session, another by its handle, or every one. */
  async logOut(which: { session?: string; all?: true }): Promise<void> {
    parseDone(await this.ask("log out", which));
  }

  async export(after: string | null): Promise<ExportPage> {
    return parseExport(await this.ask("export", after === null ? {} : { after }));
  }

  async erase(userID: string): Promise<void> {
    parseDone(await this.ask("erase", { userID }));
  }

  private ask(event: string, body: object): Promise<unknown> {
    // Nothing is left to the socket's own buffer: what must survive is in the outbox.
    if (!this.socket.connected) return Promise.reject(new Error("not connected"));
    return this.socket.timeout(ANSWER_MS).emitWithAck(event, body) as Promise<unknown>;
  }
}
