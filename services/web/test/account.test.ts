import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { parseExport, parseRelations, parseSessions, ContractError } from "../src/chat/contract";
import type { Keep } from "../src/chat/keep";
import { ContractServer } from "./server";
import { openTab, type Tab, until } from "./support";

let server: ContractServer;
const tabs: Tab[] = [];

async function signIn(username: string, keep?: Keep): Promise<Tab & { id: string }> {
  const opened = openTab(server.url, keep);
  tabs.push(opened);
  if (keep === undefined) opened.client.signIn({ username });
  else opened.client.start();
  await until(() => opened.client.online.value, `${username} is online`);
  return { ...opened, id: opened.client.me.value!.userID };
}

const sessionOf = ({ keep }: Tab) => (keep.get("session") as { sessionID: string }).sessionID;

beforeEach(async () => {
  server = await ContractServer.start({ recovery: true });
});

afterEach(async () => {
  for (const { client } of tabs.splice(0)) client.signOut();
  await server.stop();
});

describe("a session that ends", () => {
  it("by logging out is known to be over by the server too, and leaves nothing here", async () => {
    const alice = await signIn("alice");
    await alice.client.logOut({ everywhere: false });
    expect(alice.client.phase.value).toBe("signed-out");
    expect(alice.client.refusal.value).toBeNull();
    expect(server.sessions.size).toBe(0);
    expect(alice.keep.keys("")).toEqual([]);
  });

  it("is forgotten here even when the server cannot be told; everywhere it cannot", async () => {
    const alice = await signIn("alice");
    server.cut();
    await until(() => !alice.client.online.value);
    await expect(alice.client.logOut({ everywhere: true })).rejects.toThrow();
    expect(alice.keep.get("session")).not.toBeNull();
    await alice.client.logOut({ everywhere: false });
    expect(alice.client.phase.value).toBe("signed-out");
    expect(alice.keep.get("session")).toBeNull();
  });

  it.each([
    ["log out", "signed out"],
    ["revoked", "administrator has ended"],
    ["erased", "erased"],
    ["some newer reason", "has ended"],
  ])("with the reason %j asks to sign in, says why, and stays away", async (reason, text) => {
    const alice = await signIn("alice");
    server.end(sessionOf(alice), reason);
    const refusal = await until(() => alice.client.refusal.value);
    expect(refusal.text).toContain(text);
    expect(alice.client.phase.value).toBe("signed-out");
    expect(alice.client.online.value).toBe(false);
    expect(alice.keep.get("session")).toBeNull();
    expect(alice.client.lastUsername).toBe(reason === "erased" ? "" : "alice");
  });

  it("takes unsent messages with it when it was signed out from afar, and keeps them when revoked", async () => {
    for (const [reason, kept] of [
      ["log out", 0],
      ["revoked", 1],
    ] as const) {
      const alice = await signIn("alice");
      alice.client.outbox.setConnected(false);
      alice.client.send(server.add("bob"), "unsent");
      server.end(sessionOf(alice), reason);
      await until(() => alice.client.refusal.value);
      expect(alice.keep.keys("outbox.")).toHaveLength(kept);
    }
  });

  it("only for the socket can be gone on with", async () => {
    const alice = await signIn("alice");
    server.end(sessionOf(alice), "kicked");
    const refusal = await until(() => alice.client.refusal.value);
    expect(refusal).toMatchObject({ resumable: true });
    alice.client.start();
    await until(() => alice.client.online.value);
    expect(alice.client.me.value!.userID).toBe(alice.id);
    expect(alice.client.refusal.value).toBeNull();
  });

  it("is listed with the own one first, and another can be ended", async () => {
    const alice = await signIn("alice");
    server.sessions.set("elsewhere", alice.id);
    const sessions = await alice.client.account.sessions();
    expect(sessions.map(({ current }) => current)).toEqual([true, false]);
    await alice.client.account.endSession(sessions[1]!.session);
    expect(await alice.client.account.sessions()).toHaveLength(1);
    expect(alice.client.online.value).toBe(true);
    server.sessions.set("elsewhere", alice.id);
    await alice.client.logOut({ everywhere: true });
    expect(server.sessions.size).toBe(0);
  });
});

describe("blocking and muting", () => {
  it("is the same in all tabs, also in those that come later", async () => {
    const alice = await signIn("alice");
    const second = await signIn("alice", alice.keep);
    await alice.client.account.relate("block", "bob");
    await alice.client.account.relate("mute", "eve");
    await until(() => second.client.account.muted.value.has("eve"));
    const third = await signIn("alice", alice.keep);
    await until(() => third.client.account.blocked.value.has("bob"));
    await third.client.account.relate("unblock", "bob");
    await until(() => !alice.client.account.blocked.value.has("bob"));
    expect([...second.client.account.muted.value]).toEqual(["eve"]);
  });

  it.each([true, false])("that was taken back while away is known at the return (recovered: %s)", async (recovered) => {
    if (!recovered) {
      await server.stop();
      server = await ContractServer.start();
    }
    const alice = await signIn("alice");
    await alice.client.account.relate("mute", "bob");
    // Recovery needs one event with an offset.
    const bob = server.add("bob");
    server.store(bob, alice.id, "hello");
    await until(() => alice.client.conversations.get(bob)?.seq === 1);
    server.cut();
    server.mutes.clear();
    await until(() => !alice.client.online.value);
    await until(() => alice.client.online.value);
    await until(() => alice.client.account.muted.value.size === 0);
  });

  it("makes a message fail with the reason, and it passes after the block", async () => {
    const alice = await signIn("alice");
    const bob = await signIn("bob");
    await alice.client.account.relate("block", bob.id);
    const { id } = bob.client.send(alice.id, "hello?");
    await until(() => bob.client.outbox.items.get(id)?.failure?.code === "blocked");
    expect(server.conversation(alice.id, bob.id)).toEqual([]);
    await alice.client.account.relate("unblock", bob.id);
    bob.client.outbox.retry(id);
    await until(() => alice.client.conversations.get(bob.id)?.seq === 1);
  });

  it("by muting keeps messages and their count, and draws no attention", async () => {
    const alice = await signIn("alice");
    const bob = server.add("bob");
    await alice.client.account.relate("mute", bob);
    server.store(bob, alice.id, "psst");
    await until(() => alice.client.conversations.get(bob)?.unread === 1);
    expect(alice.arrived).toEqual([]);
    await alice.client.account.relate("unmute", bob);
    server.store(bob, alice.id, "hey");
    await until(() => alice.client.conversation(bob).unread === 2);
    expect(alice.arrived.map(({ message }) => message.content)).toEqual(["hey"]);
  });
});

describe("one's data", () => {
  it("is exported page after page, a JSON object a line", async () => {
    const alice = await signIn("alice");
    const bob = server.add("bob");
    for (let number = 1; number <= 5; number++) server.store(alice.id, bob, `message ${number}\n`, false);
    const progress: number[] = [];
    const lines = await alice.client.account.export((count) => progress.push(count));
    expect(progress).toEqual([2, 4, 5]);
    const contents = lines
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { content: string }).content);
    expect(contents).toEqual([1, 2, 3, 4, 5].map((number) => `message ${number}\n`));
  });

  it("is said to be erased also when another tab has cleaned up before the answer", async () => {
    const alice = await signIn("alice");
    const erasing = alice.client.erase();
    alice.keep.clear();
    alice.client.changedElsewhere("session", null);
    await erasing;
    expect(alice.client.refusal.value).toMatchObject({ wanted: true });
  });

  it("is erased with everything this browser has kept", async () => {
    const alice = await signIn("alice");
    const second = await signIn("alice", alice.keep);
    await alice.client.erase();
    expect(server.users.has(alice.id)).toBe(false);
    for (const { client } of [alice, second]) {
      await until(() => client.phase.value === "signed-out");
      expect(client.refusal.value).toMatchObject({ wanted: true });
    }
    expect(alice.keep.keys("")).toEqual([]);
  });
});

describe("announcements", () => {
  it("stay until they are put away", async () => {
    const alice = await signIn("alice");
    server.emit(alice.id, "announcement", { content: "Back in five minutes", at: 5 });
    expect(await until(() => alice.client.announcement.value)).toEqual({ content: "Back in five minutes", at: 5 });
  });
});

describe("the guards of these events", () => {
  it.each([
    [parseRelations, { blocked: [1], muted: [] }],
    [parseRelations, { blocked: [] }],
    [parseSessions, { ok: true, sessions: [{ session: "a" }] }],
    [parseExport, { ok: true, lines: ["text"], after: null }],
    [parseExport, { ok: true, lines: [], after: 3 }],
  ])("refuse what is not the contract (%#)", (parse, value) => {
    expect(() => parse(value)).toThrow(ContractError);
  });
});
