import { describe, expect, it } from "vitest";

import {
  ContractError,
  parseHistory,
  parseMessage,
  parseRead,
  parseSendAck,
  parseUser,
  parseUsersPage,
  RequestError,
} from "../src/chat/contract";

const good = { id: "a", seq: 1, at: 5, from: "x", to: "y", content: "hi" };

describe("the contract's guards", () => {
  it("take what has the shape, and leave out what is not asked for", () => {
    expect(parseMessage({ ...good, extra: 1 })).toEqual(good);
    expect(parseUser({ userID: "x", username: "X", connected: true, messages: [good] })).toMatchObject({ seq: 1, unread: 0, read: 0 });
    expect(parseRead({ from: "x", to: "y", seq: 3 })).toEqual({ from: "x", to: "y", seq: 3 });
    expect(parseUsersPage({ ok: true, users: [], after: "c" })).toEqual({ users: [], after: "c" });
    expect(parseHistory({ ok: true, messages: [good], before: null })).toEqual({ messages: [good], before: null });
  });

  it.each([null, 1, "x", [], {}, { ...good, seq: "1" }, { ...good, seq: -1 }, { ...good, seq: 1.5 }, { ...good, content: null }])(
    "refuse %j as a message",
    (value) => expect(() => parseMessage(value)).toThrow(ContractError),
  );

  it("tell a refusal from a failure of the contract", () => {
    const failure = { ok: false, code: "rate_limited", message: "slow", retryable: true };
    expect(parseSendAck(failure)).toEqual(failure);
    expect(() => parseHistory(failure)).toThrow(RequestError);
    expect(() => parseHistory("no")).toThrow(ContractError);
    expect(() => parseSendAck({ ok: true, id: "a" })).toThrow(ContractError);
  });
});
