/** The rows of a conversation as the screen shows them: days, a mark before what is new, messages. */

import type { Message } from "./contract";
import type { Pending } from "./outbox";
import { dayOf } from "./time";

/** sending: not acknowledged yet. sent: stored. read: the other has seen it. failed: refused for good. */
export type Progress = "sending" | "sent" | "read" | "failed";

/** `grouped` rows follow one of the same author closely, and need no gap above. */
export type Row =
  | { readonly kind: "day"; readonly key: string; readonly at: number }
  | { readonly kind: "new"; readonly key: string }
  | {
      readonly kind: "message";
      readonly key: string;
      readonly own: boolean;
      readonly content: string;
      readonly at: number;
      readonly grouped: boolean;
      readonly progress: Progress | null;
      readonly pending: Pending | null;
      readonly seq: number | null;
    };

/** Messages of one author within this time stand together. */
const GROUP_MS = 5 * 60_000;

export interface RowSource {
  readonly me: string;
  readonly messages: readonly Message[];
  /** In the order of writing; those already among the messages are left out. */
  readonly pending: readonly Pending[];
  readonly peerRead: number;
  /** The seq of the first message that was new when the conversation was opened, or null. */
  readonly newFrom: number | null;
}

/** Lay out a conversation. */
export function rowsOf({ me, messages, pending, peerRead, newFrom }: RowSource): Row[] {
  const rows: Row[] = [];
  let day = NaN;
  let author = "";
  let time = 0;

  const begin = (at: number, from: string, key: string): boolean => {
    if (dayOf(at) !== day) {
      day = dayOf(at);
      author = "";
      rows.push({ kind: "day", key: `day-${key}`, at });
    }
    const grouped = author === from && at - time < GROUP_MS;
    author = from;
    time = at;
    return grouped;
  };

  for (const { id, seq, at, from, to, content } of messages) {
    const own = from === me;
    // An own message keeps its key when it turns from pending to stored. Ids of others are theirs to choose.
    const key = own ? `own-${id}` : `peer-${seq}`;
    let grouped = begin(at, from, key);
    if (seq === newFrom) {
      rows.push({ kind: "new", key: "new" });
      grouped = false;
    }
    // What one writes to oneself is neither delivered nor read by anybody.
    const progress = own && to !== me ? (seq <= peerRead ? "read" : "sent") : null;
    rows.push({ kind: "message", key, own, content, at, grouped, progress, pending: null, seq });
  }
  if (pending.length > 0) {
    const stored = new Set(messages.filter((message) => message.from === me).map((message) => message.id));
    for (const item of pending) {
      if (stored.has(item.id)) continue;
      const key = `own-${item.id}`;
      // It stands at the end, whenever it was written: days never run backwards.
      const at = Math.max(item.created, time);
      const grouped = begin(at, me, key);
      const progress = item.failure === null ? "sending" : "failed";
      rows.push({ kind: "message", key, own: true, content: item.content, at, grouped, progress, pending: item, seq: null });
    }
  }
  return rows;
}
