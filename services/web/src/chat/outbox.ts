/**
 * Messages that were written and are not known to be stored: none is lost while its tab, or any later one, lives.
 *
 * Each is kept in local storage under a key of its own until the server has acknowledged it, and sent again
 * with the same id until then; the server stores an id once. In one conversation one message is under way at
 * a time, so a message that has to be repeated is not overtaken by the next.
 *
 * Tabs share the storage. The tab that took a message sends it; the others show it, and one of them takes over
 * when that tab is gone. Should two send the same message, the id makes that harmless.
 */

import { shallowReactive } from "vue";

import { ContractError, type Failure, type SendAck } from "./contract";
import { randomId } from "./ids";
import type { Keep } from "./keep";

/** Who wrote a message: a session that ended leaves messages of a user who no longer exists. */
export interface Owner {
  readonly userID: string;
  readonly username: string;
}

/** A message on its way. Immutable: a change replaces the object. */
export interface Pending {
  readonly id: string;
  readonly to: string;
  readonly content: string;
  /** When it was written, by this browser's clock; strictly increasing within a tab. */
  readonly created: number;
  readonly owner: Owner;
  /** The tab that sends it. */
  readonly tab: string;
  /** Why it was refused for good; null while it is being sent. */
  readonly failure: Failure | null;
  /** False when the browser had no room: then it lives as long as the tab. */
  readonly kept: boolean;
}

/** What the outbox needs from the rest of the page. */
export interface OutboxPorts {
  /** Send one message; rejects when there was no answer (the connection broke, or time ran out). */
  send(pending: Pending): Promise<SendAck>;
  /** The message is stored. */
  stored(pending: Pending, ack: SendAck & { ok: true }): void;
  /** Call `gone` once the tab is closed (at once where the browser cannot tell). */
  whenGone(tab: string, gone: () => void): void;
  /** The clock, in milliseconds. */
  now(): number;
}

const ROOM = "outbox.";
const FIRST_RETRY_MS = 500;
/** Longest wait between two tries while connected: a person is looking at it. */
const LAST_RETRY_MS = 15_000;

export const SESSION_ENDED: Failure = {
  code: "session_ended",
  message: "Your session ended before this was sent.",
  retryable: false,
};

export class Outbox {
  /** By id, in the order of writing. */
  readonly items = shallowReactive(new Map<string, Pending>());

  private owner: Owner | null = null;
  private connected = false;
  private lastCreated = 0;
  /** Peers with a message under way. */
  private readonly busy = new Set<string>();
  private readonly waits = new Map<string, ReturnType<typeof setTimeout>>();
  private readonly tries = new Map<string, number>();
  /** Other tabs whose messages this one sends once they are gone, or already does. */
  private readonly adopted = new Set<string>();
  private readonly watched = new Set<string>();

  constructor(
    private readonly keep: Keep,
    readonly tab: string,
    private readonly ports: OutboxPorts,
  ) {}

  /** The user is known: show what was left from before, and send it. */
  open(owner: Owner): void {
    this.owner = owner;
    this.items.clear();
    const found = this.keep
      .keys(ROOM)
      .map((key) => parsePending(this.keep.get(key)))
      .filter((pending) => pending !== null && pending.owner.username === owner.username);
    for (const pending of found.sort((a, b) => a!.created - b!.created)) this.take(pending!);
    this.pump();
  }

  /** Take a message; it is on screen, kept and on its way when this returns. */
  add(to: string, content: string): Pending {
    if (this.owner === null) throw new Error("nobody is signed in");
    this.lastCreated = Math.max(this.ports.now(), this.lastCreated + 1);
    const pending = {
      id: randomId(),
      to,
      content,
      created: this.lastCreated,
      owner: this.owner,
      tab: this.tab,
      failure: null,
      kept: true,
    };
    this.store(pending);
    this.pump();
    return pending;
  }

  /** Send a refused message again; one that the server holds against its id gets a new one. */
  retry(id: string): void {
    const pending = this.items.get(id);
    if (pending?.failure == null || this.owner === null) return;
    const sameId = pending.failure.code !== "id_conflict" && pending.owner.userID === this.owner.userID;
    if (!sameId) this.discard(id);
    this.store({ ...pending, id: sameId ? id : randomId(), owner: this.owner, tab: this.tab, failure: null });
    this.pump();
  }

  /** Give a message up. */
  discard(id: string): void {
    this.items.delete(id);
    this.keep.remove(ROOM + id);
  }

  /** The message was seen stored (in a page, or as an event): it needs no sending. */
  settle(id: string): void {
    if (this.items.has(id)) this.discard(id);
  }

  /** The connection is there (and the newest state was loaded), or gone. */
  setConnected(connected: boolean): void {
    this.connected = connected;
    for (const timer of this.waits.values()) clearTimeout(timer);
    this.waits.clear();
    this.tries.clear();
    if (connected) this.pump();
  }

  /** Another tab wrote (`value`) or removed (null) the message kept under `key`. */
  changedElsewhere(key: string, value: unknown): void {
    if (!key.startsWith(ROOM) || this.owner === null) return;
    const id = key.slice(ROOM.length);
    const known = this.items.get(id);
    if (value === null) {
      // Refused and removed: given up. Otherwise it is stored, and stays on screen until it is delivered here.
      if (known !== undefined && known.failure !== null) this.items.delete(id);
      return;
    }
    const pending = parsePending(value);
    if (pending !== null && pending.owner.username === this.owner.username) this.take(pending);
    this.pump();
  }

  /** Forget everything in this tab; what is kept stays kept. */
  close(): void {
    this.setConnected(false);
    this.owner = null;
    this.items.clear();
  }

  /** Whether a message to `peer` is under way. */
  isBusy(peer: string): boolean {
    return this.busy.has(peer);
  }

  private take(pending: Pending): void {
    const stale = pending.owner.userID !== this.owner?.userID && pending.failure === null;
    this.items.set(pending.id, stale ? { ...pending, failure: SESSION_ENDED } : pending);
    if (pending.tab === this.tab || this.watched.has(pending.tab)) return;
    this.watched.add(pending.tab);
    this.ports.whenGone(pending.tab, () => {
      this.adopted.add(pending.tab);
      this.pump();
    });
  }

  private store(pending: Pending): void {
    this.items.set(pending.id, { ...pending, kept: this.keep.set(ROOM + pending.id, pending) });
  }

  /** Send the first waiting message of every conversation that has none under way. */
  private pump(): void {
    if (!this.connected) return;
    const seen = new Set<string>();
    for (const pending of this.items.values()) {
      if (pending.failure !== null || seen.has(pending.to)) continue;
      seen.add(pending.to);
      const ours = pending.tab === this.tab || this.adopted.has(pending.tab);
      if (ours && !this.busy.has(pending.to) && !this.waits.has(pending.to)) void this.deliver(pending);
    }
  }

  private async deliver(pending: Pending): Promise<void> {
    const { to, id } = pending;
    this.busy.add(to);
    let ack: SendAck | null = null;
    try {
      ack = await this.ports.send(pending);
    } catch (error) {
      // No answer: it may or may not be stored, and its id makes asking again safe.
      if (error instanceof ContractError) console.error(error);
    }
    this.busy.delete(to);
    if (ack?.ok) {
      this.tries.delete(to);
      // The message goes onto the screen as stored before it goes from here: never neither.
      this.ports.stored(pending, ack);
      this.discard(id);
    } else if (ack !== null && !ack.retryable) {
      const { code, message, retryable } = ack;
      if (this.items.has(id)) this.store({ ...pending, failure: { code, message, retryable } });
    } else if (this.connected) {
      this.wait(to);
    }
    this.pump();
  }

  private wait(to: string): void {
    const tries = this.tries.get(to) ?? 0;
    this.tries.set(to, tries + 1);
    const longest = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** tries);
    // Half of it at random, so that many pages do not come back at the same moment.
    const timer = setTimeout(() => {
      this.waits.delete(to);
      this.pump();
    }, longest * (0.5 + Math.random() / 2));
    this.waits.set(to, timer);
  }
}

/** Read a kept message; null for anything else (an older release, an edit by hand). */
export function parsePending(value: unknown): Pending | null {
  if (typeof value !== "object" || value === null) return null;
  const { id, to, content, created, owner, tab, failure } = value as Partial<Pending>;
  const valid =
    typeof id === "string" &&
    typeof to === "string" &&
    typeof content === "string" &&
    typeof created === "number" &&
    typeof tab === "string" &&
    typeof owner?.userID === "string" &&
    typeof owner.username === "string" &&
    (failure === null || (typeof failure?.code === "string" && typeof failure.message === "string"));
  return valid ? { id, to, content, created, owner, tab, failure: failure ?? null, kept: true } : null;
}
