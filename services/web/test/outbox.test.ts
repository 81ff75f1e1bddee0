import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { SendAck } from "../src/chat/contract";
import { Keep, memoryShelf } from "../src/chat/keep";
import { Outbox, type OutboxPorts, type Pending, SESSION_ENDED } from "../src/chat/outbox";

const ME = { userID: "u1", username: "me" };

/** An outbox whose sends the test answers one by one. */
class Bench {
  readonly sent: { pending: Pending; answer: (ack: SendAck) => void; fail: () => void }[] = [];
  readonly stored: string[] = [];
  readonly waiting = new Map<string, () => void>();
  readonly outbox: Outbox;

  constructor(
    readonly keep = new Keep(memoryShelf()),
    tab = "tab-1",
  ) {
    const ports: OutboxPorts = {
      send: (pending) =>
        new Promise((resolve, reject) => {
          this.sent.push({ pending, answer: resolve, fail: () => reject(new Error("timeout")) });
        }),
      stored: (pending) => void this.stored.push(pending.content),
      whenGone: (other, gone) => void this.waiting.set(other, gone),
      now: () => 1000,
    };
    this.outbox = new Outbox(keep, tab, ports);
  }

  ready(owner = ME): this {
    this.outbox.open(owner);
    this.outbox.setConnected(true);
    return this;
  }

  /** Answer the oldest send that is open. */
  async answer(ack: Partial<SendAck> | "fail"): Promise<void> {
    const { pending, answer, fail } = this.sent.shift()!;
    if (ack === "fail") fail();
    else answer({ id: pending.id, seq: 1, at: 1, ...ack } as SendAck);
    await vi.advanceTimersByTimeAsync(0);
  }

  get contents(): string[] {
    return this.sent.map(({ pending }) => pending.content);
  }
}

const away: Partial<SendAck> = { ok: false, code: "unavailable", message: "away", retryable: true };
const refused: Partial<SendAck> = { ok: false, code: "too_long", message: "too long", retryable: false };

describe("the outbox", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("keeps a message until the server has it", async () => {
    const bench = new Bench().ready();
    bench.outbox.add("bob", "hello");
    expect(bench.keep.keys("outbox.")).toHaveLength(1);
    await bench.answer({ ok: true });
    expect(bench.stored).toEqual(["hello"]);
    expect(bench.keep.keys("outbox.")).toHaveLength(0);
    expect(bench.outbox.items.size).toBe(0);
  });

  it("sends one message of a conversation at a time, and other conversations beside it", async () => {
    const bench = new Bench().ready();
    bench.outbox.add("bob", "one");
    bench.outbox.add("bob", "two");
    bench.outbox.add("eve", "three");
    expect(bench.contents).toEqual(["one", "three"]);
    await bench.answer({ ok: true });
    expect(bench.contents).toEqual(["three", "two"]);
  });

  it("repeats a message with the same id after a passing fault, before the next one", async () => {
    const bench = new Bench().ready();
    const { id } = bench.outbox.add("bob", "one");
    bench.outbox.add("bob", "two");
    await bench.answer(away);
    expect(bench.contents).toEqual([]);
    await vi.advanceTimersByTimeAsync(500);
    expect(bench.sent.map(({ pending }) => pending.id)).toEqual([id]);
    await bench.answer("fail");
    await vi.advanceTimersByTimeAsync(1000);
    await bench.answer({ ok: true });
    expect(bench.stored).toEqual(["one"]);
    expect(bench.contents).toEqual(["two"]);
  });

  it("waits longer from try to try, but never longer than a person would", async () => {
    const bench = new Bench().ready();
    bench.outbox.add("bob", "one");
    for (let tries = 0; tries < 20; tries++) {
      await bench.answer(away);
      await vi.advanceTimersByTimeAsync(15_000);
      expect(bench.contents).toEqual(["one"]);
    }
  });

  it("sends nothing while disconnected, and everything at the return", async () => {
    const bench = new Bench();
    bench.outbox.open(ME);
    bench.outbox.add("bob", "one");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bench.contents).toEqual([]);
    bench.outbox.setConnected(true);
    expect(bench.contents).toEqual(["one"]);
    bench.outbox.setConnected(false);
    await bench.answer("fail");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bench.contents).toEqual([]);
    bench.outbox.setConnected(true);
    expect(bench.contents).toEqual(["one"]);
  });

  it("keeps a message that was refused for good, lets the next one pass, and sends it again on request", async () => {
    const bench = new Bench().ready();
    const { id } = bench.outbox.add("bob", "one");
    bench.outbox.add("bob", "two");
    await bench.answer(refused);
    expect(bench.outbox.items.get(id)?.failure?.code).toBe("too_long");
    expect(bench.contents).toEqual(["two"]);
    await bench.answer({ ok: true });
    bench.outbox.retry(id);
    expect(bench.sent.map(({ pending }) => pending.id)).toEqual([id]);
  });

  it("gives a message a new id when the server holds its id for another", async () => {
    const bench = new Bench().ready();
    const { id } = bench.outbox.add("bob", "one");
    await bench.answer({ ...refused, code: "id_conflict" } as Partial<SendAck>);
    bench.outbox.retry(id);
    expect(bench.contents).toEqual(["one"]);
    expect(bench.sent[0]!.pending.id).not.toBe(id);
    expect(bench.keep.keys("outbox.")).toHaveLength(1);
  });

  it("forgets a message that is given up", async () => {
    const bench = new Bench().ready();
    const { id } = bench.outbox.add("bob", "one");
    await bench.answer(refused);
    bench.outbox.discard(id);
    expect(bench.keep.keys("outbox.")).toEqual([]);
    expect(bench.outbox.items.size).toBe(0);
  });

  it("sends after a reload what was left, in the order of writing, once the tab before is gone", () => {
    const before = new Bench();
    before.outbox.open(ME);
    for (const content of ["one", "two", "three"]) before.outbox.add("bob", content);
    const after = new Bench(before.keep, "tab-2").ready();
    expect([...after.outbox.items.values()].map(({ content }) => content)).toEqual(["one", "two", "three"]);
    expect(after.contents).toEqual([]);
    after.waiting.get("tab-1")!();
    expect(after.contents).toEqual(["one"]);
  });

  it("does not send what was written under a session that has ended, until the person says so", () => {
    const before = new Bench();
    before.outbox.open(ME);
    before.outbox.add("bob", "one");
    const after = new Bench(before.keep, "tab-2").ready({ userID: "u2", username: "me" });
    after.waiting.get("tab-1")!();
    const [pending] = [...after.outbox.items.values()];
    expect(pending!.failure).toEqual(SESSION_ENDED);
    expect(after.contents).toEqual([]);
    after.outbox.retry(pending!.id);
    expect(after.contents).toEqual(["one"]);
    expect(after.keep.keys("outbox.")).toHaveLength(1);
  });

  it("does not show what somebody of another name has left", () => {
    const before = new Bench();
    before.outbox.open(ME);
    before.outbox.add("bob", "one");
    const after = new Bench(before.keep).ready({ userID: "u2", username: "eve" });
    expect(after.outbox.items.size).toBe(0);
  });

  it("shows what another tab is sending, and keeps it on screen until it is delivered here", () => {
    const here = new Bench().ready();
    const there = new Bench(here.keep, "tab-2").ready();
    const { id } = there.outbox.add("bob", "one");
    here.outbox.changedElsewhere(`outbox.${id}`, here.keep.get(`outbox.${id}`));
    expect(here.outbox.items.get(id)?.content).toBe("one");
    expect(here.contents).toEqual([]);
    here.outbox.changedElsewhere(`outbox.${id}`, null);
    expect(here.outbox.items.has(id)).toBe(true);
    here.outbox.settle(id);
    expect(here.outbox.items.has(id)).toBe(false);
  });

  it("removes at once what was refused and then given up in another tab", () => {
    const here = new Bench().ready();
    const pending = { id: "x", to: "bob", content: "one", created: 1, owner: ME, tab: "tab-2", kept: true };
    here.outbox.changedElsewhere("outbox.x", { ...pending, failure: { code: "too_long", message: "", retryable: false } });
    here.outbox.changedElsewhere("outbox.x", null);
    expect(here.outbox.items.size).toBe(0);
  });

  it("says so when the browser has no room, and sends all the same", () => {
    const shelf = memoryShelf();
    shelf.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
    const bench = new Bench(new Keep(shelf)).ready();
    const { id } = bench.outbox.add("bob", "one");
    expect(bench.outbox.items.get(id)?.kept).toBe(false);
    expect(bench.contents).toEqual(["one"]);
  });

  it("passes over what it finds in storage that is no message", () => {
    const bench = new Bench();
    bench.keep.set("outbox.a", { id: 7 });
    bench.keep.set("outbox.b", null);
    bench.ready();
    expect(bench.outbox.items.size).toBe(0);
  });
});
