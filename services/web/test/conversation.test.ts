import { describe, expect, it } from "vitest";

import type { UserEntry } from "../src/chat/contract";
import { Conversation } from "../src/chat/conversation";
import { message } from "./support";

const range = (from: number, to: number, author = "bob") =>
  Array.from({ length: to - from + 1 }, (_, index) => message(from + index, author, author === "bob" ? "me" : "bob"));

function entry(more: Partial<UserEntry>): UserEntry {
  return { userID: "bob", username: "Bob", connected: true, messages: [], seq: 0, unread: 0, read: 0, ...more };
}

const seqs = (conversation: Conversation) => conversation.messages.map(({ seq }) => seq);

describe("a conversation", () => {
  it("shows a message once and in the order of seq, however it comes", () => {
    const conversation = Conversation.create("me", "bob");
    for (const seq of [2, 1, 3, 2, 3]) conversation.add(message(seq, "bob", "me"));
    expect(seqs(conversation)).toEqual([1, 2, 3]);
    expect(conversation.unread).toBe(3);
  });

  it("joins the newest page of a reload to what is known when the two touch", () => {
    const conversation = Conversation.create("me", "bob");
    conversation.reset(entry({ messages: range(1, 10), seq: 10 }));
    conversation.reset(entry({ messages: range(8, 57), seq: 57, unread: 47 }));
    expect(seqs(conversation)).toEqual(range(1, 57).map(({ seq }) => seq));
    expect(conversation.older).toBe("none");
  });

  it("keeps only the page when the reload leaves a gap, and loads the rest on demand", () => {
    const conversation = Conversation.create("me", "bob");
    conversation.reset(entry({ messages: range(1, 10), seq: 10 }));
    conversation.reset(entry({ messages: range(61, 110), seq: 110 }));
    expect(seqs(conversation)[0]).toBe(61);
    expect(conversation.older).toBe("ask");
  });

  it("starts over when the server's numbers have started over", () => {
    const conversation = Conversation.create("me", "bob");
    conversation.reset(entry({ messages: range(1, 10), seq: 10 }));
    const fresh = [{ ...message(1, "bob", "me"), id: "another" }];
    conversation.reset(entry({ messages: fresh, seq: 1 }));
    expect(conversation.messages).toEqual(fresh);
  });

  it("starts over when a known seq comes back as another message", () => {
    const conversation = Conversation.create("me", "bob");
    conversation.reset(entry({ messages: range(1, 3), seq: 3 }));
    const fresh = range(1, 5).map((item) => ({ ...item, id: `new-${item.seq}` }));
    conversation.reset(entry({ messages: fresh, seq: 5 }));
    expect(conversation.messages).toEqual(fresh);
  });

  it("keeps what is known when the server had no room to send the page", () => {
    const conversation = Conversation.create("me", "bob");
    conversation.reset(entry({ messages: range(1, 3), seq: 3 }));
    conversation.reset(entry({ messages: [], seq: 3 }));
    expect(seqs(conversation)).toEqual([1, 2, 3]);
    conversation.reset(entry({ messages: [], seq: 4, unread: 1 }));
    expect(seqs(conversation)).toEqual([]);
    expect(conversation.older).toBe("ask");
  });

  it("asks for everything when the first list had no room for a single message", () => {
    const conversation = Conversation.create("me", "bob");
    conversation.reset(entry({ messages: [], seq: 4, unread: 4 }));
    expect(conversation.older).toBe("ask");
    conversation.addPage({ messages: range(1, 4), before: null });
    expect(conversation.older).toBe("none");
    expect(conversation.unread).toBe(4);
  });

  it("adds older pages before, until there is none", () => {
    const conversation = Conversation.create("me", "bob");
    conversation.reset(entry({ messages: range(51, 100), seq: 100 }));
    conversation.addPage({ messages: range(21, 50), before: 21 });
    expect(conversation.older).toBe("ask");
    conversation.addPage({ messages: range(1, 20), before: null });
    expect(seqs(conversation)).toEqual(range(1, 100).map(({ seq }) => seq));
    expect(conversation.older).toBe("none");
  });

  it("finds the newest hole, and can give up what lies before it", () => {
    const conversation = Conversation.create("me", "bob");
    for (const seq of [1, 2, 5, 6, 9]) conversation.add(message(seq, "bob", "me"));
    expect(conversation.hole()).toBe(9);
    conversation.merge(range(7, 8));
    expect(conversation.hole()).toBe(5);
    conversation.dropBefore(5);
    expect(seqs(conversation)).toEqual([5, 6, 7, 8, 9]);
    expect(conversation.hole()).toBeNull();
    expect(conversation.older).toBe("ask");
  });

  it("counts what is unread, and finds where it begins", () => {
    const conversation = Conversation.create("me", "bob");
    conversation.reset(entry({ messages: [...range(1, 3), message(4, "me", "bob")], seq: 4, unread: 2 }));
    expect(conversation.nthUnread(conversation)).toBe(2);
    expect(conversation.nthUnread({ unread: 4, seq: 4 })).toBeNull();
    conversation.add(message(5, "bob", "me"));
    conversation.add(message(6, "bob", "me"));
    expect(conversation.unread).toBe(4);
    expect(conversation.markRead(5)).toBe(true);
    expect(conversation.unread).toBe(1);
    expect(conversation.nthUnread(conversation)).toBe(6);
    expect(conversation.markRead(6)).toBe(true);
    expect(conversation.unread).toBe(0);
    expect(conversation.nthUnread(conversation)).toBeNull();
    expect(conversation.markRead(6)).toBe(false);
  });

  it("takes who writes to have read what was there, as the server does", () => {
    const conversation = Conversation.create("me", "bob");
    conversation.add(message(1, "me", "bob"));
    conversation.add(message(2, "bob", "me"));
    expect([conversation.peerRead, conversation.unread]).toEqual([2, 1]);
    conversation.add(message(3, "me", "bob"));
    expect([conversation.peerRead, conversation.unread]).toEqual([2, 0]);
  });

  it("can be marked read again after a reload that says it is not", () => {
    const conversation = Conversation.create("me", "bob");
    conversation.reset(entry({ messages: range(1, 3), seq: 3, unread: 3 }));
    conversation.markRead(3);
    conversation.reset(entry({ messages: range(1, 3), seq: 3, unread: 3 }));
    expect(conversation.markRead(3)).toBe(true);
  });

  it("never counts what one writes to oneself as unread", () => {
    const conversation = Conversation.create("me", "me");
    conversation.add(message(1, "me", "me"));
    expect(conversation.unread).toBe(0);
  });
});
