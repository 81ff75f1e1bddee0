import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Drafts } from "../src/chat/drafts";
import { Keep, memoryShelf } from "../src/chat/keep";
import { People, TYPING_MS } from "../src/chat/people";
import { handshakeAuth, loadSession, refusalOf, saveSession } from "../src/chat/session";

describe("what the browser keeps", () => {
  it("comes back as it was, and as nothing when it is broken", () => {
    const shelf = memoryShelf();
    const keep = new Keep(shelf);
    expect(keep.set("a", { b: [1] })).toBe(true);
    expect(new Keep(shelf).get("a")).toEqual({ b: [1] });
    shelf.setItem("parley.a", "{broken");
    expect(keep.get("a")).toBeNull();
  });

  it("is cleared without touching what others keep", () => {
    const shelf = memoryShelf();
    shelf.setItem("other", "1");
    const keep = new Keep(shelf);
    for (const key of ["a", "b", "c"]) keep.set(key, 1);
    keep.clear();
    expect(shelf.length).toBe(1);
  });
});

describe("drafts", () => {
  it("are there again after a reload, and follow other tabs", () => {
    const keep = new Keep(memoryShelf());
    const drafts = new Drafts(keep);
    drafts.set("bob", "not yet");
    drafts.set("eve", "x");
    drafts.set("eve", "");
    const again = new Drafts(keep);
    expect([again.get("bob"), again.get("eve")]).toEqual(["not yet", ""]);
    again.changedElsewhere("draft.bob", "further");
    expect(again.get("bob")).toBe("further");
    again.changedElsewhere("draft.bob", null);
    expect(again.get("bob")).toBe("");
  });
});

describe("the session", () => {
  const session = { username: "ann", sessionID: "s", token: null, expired: false };

  it("is resumed by its id alone, with the token where there is one", () => {
    expect(handshakeAuth(session)).toEqual({ sessionID: "s" });
    expect(handshakeAuth({ ...session, sessionID: null })).toEqual({ username: "ann" });
    expect(handshakeAuth({ ...session, token: "t" })).toEqual({ sessionID: "s", token: "t" });
  });

  it("is kept; anything else in its place is none", () => {
    const keep = new Keep(memoryShelf());
    saveSession(keep, session);
    expect(loadSession(keep)).toEqual(session);
    for (const wrong of [null, 7, {}, { username: "ann" }, { sessionID: "s" }]) {
      keep.set("session", wrong);
      expect(loadSession(keep)).toBeNull();
    }
  });

  it("is refused in words that a person understands", () => {
    expect(refusalOf("invalid username", true).text).toContain("session has ended");
    expect(refusalOf("token expired", true).wantsToken).toBe(true);
    expect(refusalOf("something new", false)).toEqual({ text: "The server refused: something new", wantsToken: false });
  });
});

describe("typing", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("ends by itself unless it is repeated", () => {
    const people = new People();
    people.startedTyping("bob");
    vi.advanceTimersByTime(TYPING_MS - 1);
    people.startedTyping("bob");
    vi.advanceTimersByTime(TYPING_MS - 1);
    expect(people.typing.has("bob")).toBe(true);
    vi.advanceTimersByTime(1);
    expect(people.typing.has("bob")).toBe(false);
  });
});
