/**
 * The messages of one conversation as this tab knows them.
 *
 * What is known is kept sorted by `seq`. It may begin late (older pages are loaded on demand) and, while a
 * message of one's own is under way, may have a hole: the answer to it can be delivered before its
 * acknowledgement. Everything that comes in is merged by `seq`, so nothing shows twice or out of order.
 */

import { shallowReactive } from "vue";

import type { HistoryPage, Message, UserEntry } from "./contract";

/** Whether older messages can be asked for. */
export type Older = "ask" | "loading" | "failed" | "none";

export class Conversation {
  /** Sorted by seq. Replaced, never changed in place. */
  messages: readonly Message[] = [];
  /** The conversation's last seq as far as known. */
  seq = 0;
  /** Messages of the peer that the user has not read on any device. */
  unread = 0;
  /** Up to which seq the peer has read. */
  peerRead = 0;
  /** Up to which seq this user is known to have read. */
  ownRead = 0;
  older: Older = "none";

  private constructor(
    readonly me: string,
    readonly peer: string,
  ) {}

  /** Make a conversation whose fields are reactive. */
  static create(me: string, peer: string): Conversation {
    return shallowReactive(new Conversation(me, peer));
  }

  /** The newest message, if there is one. */
  get last(): Message | undefined {
    return this.messages.at(-1);
  }

  /**
   * Take over what the server says at connect.
   *
   * The newest page is joined to what is known when the two touch. When they contradict each other (the
   * numbering started over) or leave a gap, only the page stays and the rest is loaded on demand.
   */
  reset(entry: UserEntry): void {
    const page = entry.messages;
    const first = page[0];
    const known = this.last;
    const touches = known !== undefined && (first === undefined ? known.seq >= entry.seq : first.seq <= known.seq + 1);
    const agrees = known !== undefined && entry.seq >= known.seq && !contradicts(this.messages, page);
    const previous = this.firstSeq;
    this.messages = touches && agrees ? union(this.messages, page) : [...page];
    this.seq = entry.seq;
    this.unread = entry.unread;
    this.peerRead = agrees ? Math.max(this.peerRead, entry.read) : entry.read;
    this.ownRead = entry.unread === 0 ? entry.seq : (this.nthUnread(entry) ?? 1) - 1;
    if (this.firstSeq !== previous || this.older === "loading") this.older = this.firstSeq > 1 ? "ask" : "none";
  }

  /** Where the known messages begin; where they would, when none is known. */
  private get firstSeq(): number {
    return this.messages[0]?.seq ?? this.seq + 1;
  }

  /** Add a message that was delivered or acknowledged. Returns whether it was new. */
  add(message: Message): boolean {
    if (find(this.messages, message.seq) !== undefined) return false;
    if (this.messages.length === 0 && message.seq > 1) this.older = "ask";
    this.messages = union(this.messages, [message]);
    this.seq = Math.max(this.seq, message.seq);
    // Who writes has read what was there: the server moves the writer's mark without a `read` of its own.
    if (message.from === this.me) this.markRead(message.seq);
    else {
      this.peerRead = Math.max(this.peerRead, message.seq);
      if (message.seq > this.ownRead) this.unread += 1;
    }
    return true;
  }

  /** Add messages of a page somewhere in the middle. Returns how many were new. */
  merge(messages: readonly Message[]): number {
    const before = this.messages.length;
    this.messages = union(this.messages, messages);
    return this.messages.length - before;
  }

  /** Add the page of `history` before the oldest message. A page without `before` reaches the start. */
  addPage(page: HistoryPage): void {
    this.merge(page.messages);
    this.older = page.before === null ? "none" : "ask";
  }

  /** The user has read up to `seq`, here or in another tab. Returns whether that is news. */
  markRead(seq: number): boolean {
    if (seq <= this.ownRead) return false;
    this.ownRead = seq;
    const left = this.messages.filter((message) => message.seq > seq && message.from !== this.me).length;
    const news = this.unread > 0;
    this.unread = seq >= this.seq ? 0 : Math.min(this.unread, left);
    return news;
  }

  /** The seq above the newest hole (load the page before it), or null when there is none. */
  hole(): number | null {
    for (let index = this.messages.length - 1; index > 0; index--) {
      const seq = this.messages[index]!.seq;
      if (this.messages[index - 1]!.seq !== seq - 1) return seq;
    }
    return null;
  }

  /** Give up what lies before a hole that the server cannot fill: its messages are no longer kept. */
  dropBefore(seq: number): void {
    this.messages = this.messages.filter((message) => message.seq >= seq);
    this.older = seq > 1 ? "ask" : "none";
  }

  /**
   * The seq of the first of the `unread` newest messages of the peer up to `seq`.
   *
   * Null when there is none, or when it is among the messages that are not loaded.
   */
  nthUnread({ unread, seq }: { unread: number; seq: number }): number | null {
    let left = unread;
    for (let index = this.messages.length - 1; left > 0 && index >= 0; index--) {
      const message = this.messages[index]!;
      if (message.seq <= seq && message.from !== this.me && --left === 0) return message.seq;
    }
    return null;
  }
}

function find(messages: readonly Message[], seq: number): Message | undefined {
  const last = messages.at(-1);
  if (last === undefined || seq > last.seq) return undefined;
  let low = 0;
  let high = messages.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (messages[middle]!.seq < seq) low = middle + 1;
    else high = middle;
  }
  return messages[low]?.seq === seq ? messages[low] : undefined;
}

function contradicts(known: readonly Message[], page: readonly Message[]): boolean {
  return page.some((message) => {
    const same = find(known, message.seq);
    return same !== undefined && same.id !== message.id;
  });
}

function union(known: readonly Message[], more: readonly Message[]): readonly Message[] {
  const fresh = more.filter((message) => find(known, message.seq) === undefined);
  if (fresh.length === 0) return known;
  const first = fresh[0]!;
  const last = known.at(-1);
  const all = [...known, ...fresh];
  return last === undefined || last.seq < first.seq ? all : all.sort((a, b) => a.seq - b.seq);
}
