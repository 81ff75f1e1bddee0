import { describe, expect, it } from "vitest";

import type { Message } from "../src/chat/contract";
import type { Pending } from "../src/chat/outbox";
import { type Row, rowsOf } from "../src/chat/rows";

const HOUR = 3_600_000;
const NOON = new Date(2025, 5, 10, 12).getTime();

const say = (seq: number, from: string, at: number): Message => ({
  id: `${from}${seq}`,
  seq,
  at,
  from,
  to: from === "me" ? "bob" : "me",
  content: `${seq}`,
});
const pend = (id: string, created: number, failed = false): Pending => ({
  id,
  to: "bob",
  content: id,
  created,
  owner: { userID: "me", username: "me" },
  tab: "t",
  failure: failed ? { code: "too_long", message: "too long", retryable: false } : null,
  kept: true,
});
const rows = (messages: Message[], more: Partial<Parameters<typeof rowsOf>[0]> = {}): Row[] =>
  rowsOf({ me: "me", messages, pending: [], peerRead: 0, newFrom: null, ...more });
const kinds = (list: Row[]) => list.map((row) => (row.kind === "message" ? row.content : row.kind));

describe("the rows of a conversation", () => {
  it("begin each day with its heading", () => {
    const list = rows([say(1, "me", NOON - 24 * HOUR), say(2, "bob", NOON), say(3, "bob", NOON + HOUR)]);
    expect(kinds(list)).toEqual(["day", "1", "day", "2", "3"]);
  });

  it("group what one person says within minutes", () => {
    const list = rows([say(1, "bob", NOON), say(2, "bob", NOON + 1000), say(3, "me", NOON + 2000), say(4, "me", NOON + HOUR)]);
    expect(list.map((row) => row.kind === "message" && row.grouped)).toEqual([false, false, true, false, false]);
  });

  it("tell how far an own message has come", () => {
    const list = rows([say(1, "me", NOON), say(2, "me", NOON), say(3, "bob", NOON)], {
      peerRead: 1,
      pending: [pend("a", NOON), pend("b", NOON, true)],
    });
    expect(list.map((row) => row.kind === "message" && row.progress)).toEqual([false, "read", "sent", null, "sending", "failed"]);
  });

  it("mark where the new ones begin", () => {
    expect(kinds(rows([say(1, "bob", NOON), say(2, "bob", NOON)], { newFrom: 2 }))).toEqual(["day", "1", "new", "2"]);
  });

  it("show a message once while it is both pending and stored, under one key", () => {
    const pending = pend("me1", NOON);
    const before = rows([], { pending: [pending] });
    const after = rows([say(1, "me", NOON)], { pending: [pending] });
    expect(after.filter((row) => row.kind === "message")).toHaveLength(1);
    expect(after.at(-1)!.key).toBe(before.at(-1)!.key);
  });

  it("never run back to an earlier day for a message that waited", () => {
    const list = rows([say(1, "bob", NOON)], { pending: [pend("a", NOON - 48 * HOUR)] });
    expect(kinds(list)).toEqual(["day", "1", "a"]);
  });

  it("have keys of their own, whatever ids the other side chooses", () => {
    const list = rows([
      { ...say(1, "bob", NOON), id: "new" },
      { ...say(2, "bob", NOON), id: "new" },
      { ...say(3, "me", NOON), id: "new" },
    ]);
    expect(new Set(list.map((row) => row.key)).size).toBe(list.length);
  });
});
