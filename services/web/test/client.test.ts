import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { shallowReactive, watch } from "vue";

import type { Client } from "../src/chat/client";
import { Keep, memoryShelf } from "../src/chat/keep";
import { ContractServer } from "./server";
import { openTab, type Tab, until } from "./support";

let server: ContractServer;
const tabs: Tab[] = [];

function tab(keep?: Keep, name?: string): Tab {
  const opened = openTab(server.url, keep, name);
  tabs.push(opened);
  return opened;
}

async function signIn(username: string, keep?: Keep): Promise<Tab & { id: string }> {
  const opened = tab(keep);
  opened.client.signIn({ username });
  await until(() => opened.client.online.value, `${username} is online`);
  return { ...opened, id: opened.client.me.value!.userID };
}

const contents = (client: Client, peer: string) => client.conversation(peer).messages.map((message) => message.content);

beforeEach(async () => {
  server = await ContractServer.start();
});

afterEach(async () => {
  for (const { client } of tabs.splice(0)) client.signOut();
  await server.stop();
});

describe("signing in", () => {
  it("keeps the session, so the next page load resumes it", async () => {
    const alice = await signIn("alice");
    const again = tab(alice.keep);
    again.client.start();
    await until(() => again.client.online.value);
    expect(again.client.me.value).toEqual({ userID: alice.id, username: "alice" });
  });

  it("asks again when the session is no longer known, and offers the name", async () => {
    const alice = await signIn("alice");
    server.sessions.clear();
    const again = tab(alice.keep);
    again.client.start();
    await until(() => again.client.refusal.value);
    expect(again.client.phase.value).toBe("signed-out");
    expect(again.client.refusal.value!.text).toContain("session has ended");
    expect(again.client.lastUsername).toBe("alice");
    expect(alice.keep.get("session")).toBeNull();
  });

  it("tells that a name was refused", async () => {
    const { client } = tab();
    client.signIn({ username: "" });
    await until(() => client.refusal.value);
    expect(client.refusal.value!.text).toContain("name cannot be used");
  });

  it("resumes the same session with a new token after the old one has expired", async () => {
    server.tokens = new Map([["good", "alice"]]);
    const alice = tab();
    alice.client.signIn({ token: "good" });
    await until(() => alice.client.online.value);
    const me = alice.client.me.value!;
    expect(me.username).toBe("alice");
    server.tokens = new Map([["newer", "alice"]]);
    server.cut();
    const refusal = await until(() => alice.client.refusal.value);
    expect(refusal).toMatchObject({ wantsToken: true });
    alice.client.signIn({ token: "newer" });
    await until(() => alice.client.online.value);
    expect(alice.client.me.value).toEqual(me);
  });

  it("asks for a token where the server wants one", async () => {
    server.tokens = new Map();
    const { client } = tab();
    client.signIn({ username: "alice" });
    expect((await until(() => client.refusal.value)).wantsToken).toBe(true);
  });

  it("follows another tab that signs in, changes user or signs out", async () => {
    const here = tab();
    const there = await signIn("alice");
    here.client.changedElsewhere("session", there.keep.get("session"));
    await until(() => here.client.online.value);
    expect(here.client.me.value!.userID).toBe(there.id);
    here.client.changedElsewhere("session", null);
    expect(here.client.phase.value).toBe("signed-out");
    expect(here.client.refusal.value!.text).toContain("signed out");
    there.client.signOut();
    there.client.changedElsewhere("session", null);
    expect(there.client.refusal.value).toBeNull();
  });

  it("forgets everything when signing out", async () => {
    const alice = await signIn("alice");
    alice.client.outbox.setConnected(false);
    alice.client.send(server.add("bob"), "secret");
    alice.client.signOut();
    expect(alice.keep.keys("")).toEqual([]);
    expect(alice.client.people.all.size).toBe(0);
    expect(alice.client.conversations.size).toBe(0);
  });
});

describe("messages", () => {
  it("go to the other and to one's own second tab, once each and in order", async () => {
    const alice = await signIn("alice");
    const second = tab(alice.keep);
    second.client.start();
    await until(() => second.client.online.value);
    const bob = await signIn("bob");
    await until(() => alice.client.people.all.has(bob.id));
    const said = Array.from({ length: 20 }, (_, index) => `message ${index}`);
    for (const content of said) alice.client.send(bob.id, content);
    await until(() => second.client.conversation(bob.id).seq === 20);
    await until(() => alice.client.outbox.items.size === 0);
    await until(() => bob.client.conversation(alice.id).seq === 20);
    for (const [client, peer] of [
      [alice.client, bob.id],
      [second.client, bob.id],
      [bob.client, alice.id],
    ] as const) {
      expect(contents(client, peer)).toEqual(said);
    }
    expect(bob.client.conversation(alice.id).unread).toBe(20);
    expect(bob.arrived).toHaveLength(20);
    expect(bob.arrived[0]!.from?.username).toBe("alice");
    expect(second.arrived).toHaveLength(0);
  });

  it("survive an acknowledgement that is lost with the connection, without doubling", async () => {
    const alice = await signIn("alice");
    const bob = server.add("bob");
    let times = 0;
    server.intercept = () => (times++ === 0 ? "drop" : null);
    alice.client.send(bob, "hello");
    await until(() => alice.client.outbox.items.size === 1);
    while (server.received.length === 0) await new Promise((resolve) => setImmediate(resolve));
    server.cut();
    await until(() => alice.client.outbox.items.size === 0);
    expect(contents(alice.client, bob)).toEqual(["hello"]);
    expect(server.conversation(alice.id, bob)).toHaveLength(1);
  });

  it("written while offline are sent at the return, in order", async () => {
    const alice = await signIn("alice");
    const bob = server.add("bob");
    server.cut();
    await until(() => !alice.client.online.value);
    for (const content of ["one", "two", "three"]) alice.client.send(bob, content);
    expect(alice.client.outbox.items.size).toBe(3);
    alice.client.hurry();
    await until(() => alice.client.outbox.items.size === 0);
    expect(contents(alice.client, bob)).toEqual(["one", "two", "three"]);
  });

  it("stay in order when the answer to one arrives before its acknowledgement", async () => {
    const alice = await signIn("alice");
    const bob = server.add("bob");
    server.beforeAck = () => void server.store(bob, alice.id, "answer");
    alice.client.send(bob, "question");
    await until(() => alice.client.conversation(bob).messages.length === 2);
    expect(contents(alice.client, bob)).toEqual(["question", "answer"]);
  });

  it("to oneself are shown once", async () => {
    const alice = await signIn("alice");
    alice.client.send(alice.id, "note");
    await until(() => alice.client.outbox.items.size === 0);
    expect(contents(alice.client, alice.id)).toEqual(["note"]);
    expect(alice.client.conversation(alice.id).unread).toBe(0);
  });

  it("that were refused stay, with the reason", async () => {
    const alice = await signIn("alice");
    const bob = server.add("bob");
    server.intercept = () => ({ ok: false, code: "unknown_recipient", message: "There is no such user.", retryable: false });
    const { id } = alice.client.send(bob, "hello");
    await until(() => alice.client.outbox.items.get(id)?.failure);
    expect(alice.client.outbox.items.get(id)!.failure!.message).toBe("There is no such user.");
  });
});

describe("coming back", () => {
  it("without recovery takes everything anew: nothing missed, doubled or out of order", async () => {
    const alice = await signIn("alice");
    const bob = server.add("bob");
    for (let index = 0; index < 5; index++) server.store(bob, alice.id, `before ${index}`);
    await until(() => alice.client.conversation(bob).seq === 5);
    server.cut();
    await until(() => !alice.client.online.value);
    for (let index = 0; index < 3; index++) server.store(bob, alice.id, `missed ${index}`, false);
    alice.client.hurry();
    await until(() => alice.client.online.value);
    expect(contents(alice.client, bob)).toEqual([
      ...["before 0", "before 1", "before 2", "before 3", "before 4"],
      ...["missed 0", "missed 1", "missed 2"],
    ]);
    expect(alice.client.conversation(bob).unread).toBe(8);
  });

  it("with recovery goes on where it was", async () => {
    await server.stop();
    server = await ContractServer.start({ recovery: true });
    const alice = await signIn("alice");
    const bob = server.add("bob");
    server.store(bob, alice.id, "first");
    await until(() => alice.client.conversation(bob).seq === 1);
    const conversation = alice.client.conversation(bob);
    server.cut();
    await until(() => !alice.client.online.value);
    server.store(bob, alice.id, "missed");
    alice.client.send(bob, "mine");
    alice.client.hurry();
    await until(() => alice.client.outbox.items.size === 0);
    await until(() => conversation.messages.length === 3);
    expect(contents(alice.client, bob)).toEqual(["first", "missed", "mine"]);
  });

  it("marks people offline whom the new list does not name", async () => {
    const alice = await signIn("alice");
    const bob = await signIn("bob");
    await until(() => alice.client.people.all.get(bob.id)?.connected);
    server.unlisted.add(bob.id);
    server.cut();
    await until(() => alice.client.people.all.get(bob.id)?.connected === false);
  });
});

describe("history, reading, typing, people", () => {
  it("loads page after page up to the start, once each", async () => {
    const bob = server.add("bob");
    const alice = await signIn("alice");
    for (let index = 1; index <= 170; index++) server.store(bob, alice.id, `${index}`, false);
    server.cut();
    await until(() => alice.client.conversation(bob).seq === 170);
    const conversation = alice.client.conversation(bob);
    await until(() => alice.client.online.value);
    expect(conversation.messages).toHaveLength(50);
    while (conversation.older !== "none") {
      await Promise.all([alice.client.loadOlder(bob), alice.client.loadOlder(bob)]);
    }
    expect(contents(alice.client, bob)).toEqual(Array.from({ length: 170 }, (_, index) => `${index + 1}`));
  });

  it("fills a hole that a lost event has left", async () => {
    const bob = server.add("bob");
    const alice = await signIn("alice");
    server.store(bob, alice.id, "1");
    server.store(bob, alice.id, "2", false);
    server.store(bob, alice.id, "3");
    await until(() => alice.client.conversation(bob).messages.length === 3);
    expect(contents(alice.client, bob)).toEqual(["1", "2", "3"]);
  });

  it("tells the other, and one's own other tabs, what was read", async () => {
    const alice = await signIn("alice");
    const second = tab(alice.keep);
    second.client.start();
    await until(() => second.client.online.value);
    const bob = await signIn("bob");
    bob.client.send(alice.id, "hello");
    await until(() => alice.client.conversation(bob.id).unread === 1 && second.client.conversation(bob.id).unread === 1);
    alice.client.read(bob.id, 1);
    await until(() => bob.client.conversation(alice.id).peerRead === 1);
    await until(() => second.client.conversation(bob.id).unread === 0);
    expect(alice.client.conversation(bob.id).unread).toBe(0);
  });

  it("says again what was read when that was lost, and does not call it unread meanwhile", async () => {
    const alice = await signIn("alice");
    const bob = await signIn("bob");
    bob.client.send(alice.id, "hello");
    const conversation = await until(() => alice.client.conversations.get(bob.id));
    await until(() => conversation.unread === 1);
    server.loseReads = true;
    alice.client.read(bob.id, 1);
    server.cut();
    await until(() => !alice.client.online.value);
    server.loseReads = false;
    await until(() => alice.client.online.value);
    expect(conversation.unread).toBe(0);
    await until(() => bob.client.conversation(alice.id).peerRead === 1);
  });

  it("says what was read in a burst in a few words", async () => {
    const bob = server.add("bob");
    const alice = await signIn("alice");
    const reads = shallowReactive<number[]>([]);
    server.onRead = (seq) => void reads.push(seq);
    for (let seq = 1; seq <= 200; seq++) server.store(bob, alice.id, `${seq}`);
    const conversation = await until(() => alice.client.conversations.get(bob));
    // As the screen does, whenever it has been laid out anew.
    const stop = watch([() => conversation.seq, () => conversation.unread], () => alice.client.read(bob, conversation.seq), {
      immediate: true,
    });
    await until(() => conversation.seq === 200);
    await until(() => conversation.unread === 0);
    await until(() => reads.at(-1) === 200);
    stop();
    expect(reads.length).toBeLessThan(100);
    expect(conversation.messages).toHaveLength(200);
  });

  it("shows typing until the message comes", async () => {
    const alice = await signIn("alice");
    const bob = await signIn("bob");
    bob.client.typing(alice.id);
    await until(() => alice.client.people.typing.has(bob.id));
    bob.client.send(alice.id, "done");
    await until(() => alice.client.conversation(bob.id).seq === 1);
    expect(alice.client.people.typing.has(bob.id)).toBe(false);
  });

  it("finds people on the server, and pages through all", async () => {
    const alice = await signIn("alice");
    for (let index = 0; index < 250; index++) server.add(`late ${index}`);
    expect(await alice.client.search("late 24")).toHaveLength(11);
    for (let page = 0; page < 4; page++) await alice.client.loadPeople();
    expect(alice.client.people.all.size).toBe(251);
  });

  it("follows who comes and goes", async () => {
    const alice = await signIn("alice");
    const bob = await signIn("bob");
    await until(() => alice.client.people.all.get(bob.id)?.connected);
    bob.client.signOut();
    await until(() => alice.client.people.all.get(bob.id)?.connected === false);
  });
});

describe("another tab", () => {
  it("that is closed leaves its messages to this one", async () => {
    const keep = new Keep(memoryShelf());
    const alice = await signIn("alice", keep);
    const bob = server.add("bob");
    const closing = tab(keep, "closing");
    closing.client.start();
    await until(() => closing.client.online.value);
    closing.client.outbox.setConnected(false);
    const { id } = closing.client.send(bob, "last words");
    alice.client.changedElsewhere(`outbox.${id}`, keep.get(`outbox.${id}`));
    expect(server.received).toEqual([]);
    alice.gone("closing");
    await until(() => alice.client.outbox.items.size === 0);
    expect(contents(alice.client, bob)).toEqual(["last words"]);
  });
});
