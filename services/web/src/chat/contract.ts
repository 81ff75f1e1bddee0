/**
 * The wire contract as the page uses it: shapes, and guards that let only those shapes in.
 *
 * The server is trusted to be Parley, yet a guard at the boundary turns a bad answer into one clear
 * error instead of a broken screen. Times are milliseconds since the Unix epoch.
 */

/** A stored message. `seq` counts the messages of its conversation from 1 without gaps. */
export interface Message {
  readonly id: string;
  readonly seq: number;
  readonly at: number;
  readonly from: string;
  readonly to: string;
  readonly content: string;
}

/** One person of the `users` event, with the newest part of the conversation with them. */
export interface UserEntry {
  readonly userID: string;
  readonly username: string;
  readonly connected: boolean;
  readonly messages: readonly Message[];
  /** The conversation's last seq, 0 when there is none. */
  readonly seq: number;
  /** How many of their messages the user has not read. */
  readonly unread: number;
  /** Up to which seq they have read, 0 when unknown. */
  readonly read: number;
}

/** Why a request failed: a row of the server's table of error codes. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

/** The acknowledgement of `private message`. */
export type SendAck =
  | { readonly ok: true; readonly id: string; readonly seq: number; readonly at: number }
  | ({ readonly ok: false } & Failure);

/** One page of `history`; `before` asks for the next older page, null at the start. */
export interface HistoryPage {
  readonly messages: readonly Message[];
  readonly before: number | null;
}

/** One page of `users {query, after}`; `after` asks for the next page, null at the end. */
export interface UsersPage {
  readonly users: readonly UserEntry[];
  readonly after: string | null;
}

/** A `read` event: `from` has read the conversation with `to` up to `seq`. */
export interface ReadEvent {
  readonly from: string;
  readonly to: string;
  readonly seq: number;
}

/** Whom the user has blocked and muted, as userIDs. */
export interface Relations {
  readonly blocked: readonly string[];
  readonly muted: readonly string[];
}

/** One of the user's own sessions; `session` names it without being the secret that it is. */
export interface OwnSession {
  readonly session: string;
  /** When it was used last. */
  readonly used: number;
  /** Whether it is this browser's. */
  readonly current: boolean;
}

/** One page of `export`: JSON objects; `after` asks for the next page, null at the end. */
export interface ExportPage {
  readonly lines: readonly unknown[];
  readonly after: string | null;
}

/** What the administrators tell everybody. */
export interface Announcement {
  readonly content: string;
  readonly at: number;
}

/** The longest content the server takes, in characters (Unicode code points). */
export const MAX_CONTENT = 32_768;

/** The longest username, in characters. */
export const MAX_USERNAME = 64;

/** The server answered something that is not the contract. */
export class ContractError extends Error {
  override readonly name = "ContractError";
}

/** A request was refused with a code of the table. */
export class RequestError extends Error {
  override readonly name = "RequestError";

  constructor(readonly failure: Failure) {
    super(failure.code);
  }
}

type Fields = Record<string, unknown>;

function fields(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ContractError(`${what} is not an object`);
  }
  return value as Fields;
}

function text(from: Fields, key: string, what: string): string {
  const value = from[key];
  if (typeof value !== "string") throw new ContractError(`${what}.${key} is not a string`);
  return value;
}

function count(from: Fields, key: string, what: string): number {
  const value = from[key];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new ContractError(`${what}.${key} is not a count`);
  }
  return value;
}

function list<T>(value: unknown, what: string, each: (item: unknown) => T): T[] {
  if (!Array.isArray(value)) throw new ContractError(`${what} is not an array`);
  return value.map(each);
}

/** Read a message, as an event or as part of a page. */
export function parseMessage(value: unknown): Message {
  const from = fields(value, "message");
  return {
    id: text(from, "id", "message"),
    seq: count(from, "seq", "message"),
    at: count(from, "at", "message"),
    from: text(from, "from", "message"),
    to: text(from, "to", "message"),
    content: text(from, "content", "message"),
  };
}

/** Read a person. Pages of a search carry no messages, `user connected` no numbers either. */
export function parseUser(value: unknown): UserEntry {
  const from = fields(value, "user");
  const messages = from["messages"] === undefined ? [] : list(from["messages"], "user.messages", parseMessage);
  return {
    userID: text(from, "userID", "user"),
    username: text(from, "username", "user"),
    connected: from["connected"] === true,
    messages,
    seq: from["seq"] === undefined ? (messages.at(-1)?.seq ?? 0) : count(from, "seq", "user"),
    unread: from["unread"] === undefined ? 0 : count(from, "unread", "user"),
    read: from["read"] === undefined ? 0 : count(from, "read", "user"),
  };
}

/** Read the `users` event. */
export function parseUsers(value: unknown): UserEntry[] {
  return list(value, "users", parseUser);
}

/** Read the `session` event. */
export function parseSession(value: unknown): { sessionID: string; userID: string } {
  const from = fields(value, "session");
  return { sessionID: text(from, "sessionID", "session"), userID: text(from, "userID", "session") };
}

/** Read a `read` event. */
export function parseRead(value: unknown): ReadEvent {
  const from = fields(value, "read");
  return { from: text(from, "from", "read"), to: text(from, "to", "read"), seq: count(from, "seq", "read") };
}

/** Read a `typing` event: who is typing. */
export function parseTyping(value: unknown): string {
  return text(fields(value, "typing"), "from", "typing");
}

/** Read a `session ended` event: the reason. */
export function parseEnded(value: unknown): string {
  return text(fields(value, "session ended"), "reason", "session ended");
}

/** Read an `announcement` event. */
export function parseAnnouncement(value: unknown): Announcement {
  const from = fields(value, "announcement");
  return { content: text(from, "content", "announcement"), at: count(from, "at", "announcement") };
}

function parseFailure(from: Fields): Failure {
  return {
    code: text(from, "code", "failure"),
    message: text(from, "message", "failure"),
    retryable: from["retryable"] === true,
  };
}

/** Read the acknowledgement of `private message`. */
export function parseSendAck(value: unknown): SendAck {
  const from = fields(value, "acknowledgement");
  if (from["ok"] !== true) return { ok: false, ...parseFailure(from) };
  return {
    ok: true,
    id: text(from, "id", "acknowledgement"),
    seq: count(from, "seq", "acknowledgement"),
    at: count(from, "at", "acknowledgement"),
  };
}

function succeeded(value: unknown): Fields {
  const from = fields(value, "answer");
  if (from["ok"] === false) throw new RequestError(parseFailure(from));
  return from;
}

/** Read an acknowledgement that says nothing more. Raises `RequestError` when the request was refused. */
export function parseDone(value: unknown): void {
  succeeded(value);
}

/** Read the answer to `history`. Raises `RequestError` when it was refused. */
export function parseHistory(value: unknown): HistoryPage {
  const from = succeeded(value);
  return {
    messages: list(from["messages"], "answer.messages", parseMessage),
    before: from["before"] === null || from["before"] === undefined ? null : count(from, "before", "answer"),
  };
}

/** Read the answer to `users`. Raises `RequestError` when it was refused. */
export function parseUsersPage(value: unknown): UsersPage {
  const from = succeeded(value);
  return {
    users: list(from["users"], "answer.users", parseUser),
    after: from["after"] === null || from["after"] === undefined ? null : text(from, "after", "answer"),
  };
}

/** Read a `relations` event, or the answer to a change. Raises `RequestError` when it was refused. */
export function parseRelations(value: unknown): Relations {
  const from = succeeded(value);
  const ids = (key: string): string[] =>
    list(from[key], `relations.${key}`, (item) => text({ item }, "item", `relations.${key}`));
  return { blocked: ids("blocked"), muted: ids("muted") };
}

/** Read the answer to `sessions`. Raises `RequestError` when it was refused. */
export function parseSessions(value: unknown): OwnSession[] {
  return list(succeeded(value)["sessions"], "answer.sessions", (item) => {
    const from = fields(item, "session");
    return {
      session: text(from, "session", "session"),
      used: count(from, "used", "session"),
      current: from["current"] === true,
    };
  });
}

/** Read the answer to `export`. Raises `RequestError` when it was refused. */
export function parseExport(value: unknown): ExportPage {
  const from = succeeded(value);
  return {
    lines: list(from["lines"], "answer.lines", (line) => fields(line, "line")),
    after: from["after"] === null || from["after"] === undefined ? null : text(from, "after", "answer"),
  };
}
