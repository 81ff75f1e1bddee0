/** What was typed and not sent, for each conversation; survives reload and is the same in all tabs. */

import { shallowReactive } from "vue";

import type { Keep } from "./keep";

const ROOM = "draft.";

export class Drafts {
  private readonly texts = shallowReactive(new Map<string, string>());

  constructor(private readonly keep: Keep) {
    for (const key of keep.keys(ROOM)) this.changedElsewhere(key, keep.get(key));
  }

  get(peer: string): string {
    return this.texts.get(peer) ?? "";
  }

  set(peer: string, text: string): void {
    if (text === this.get(peer)) return;
    if (text === "") {
      this.texts.delete(peer);
      this.keep.remove(ROOM + peer);
    } else {
      this.texts.set(peer, text);
      // A browser without room keeps the draft as long as the tab; the message itself will say so.
      this.keep.set(ROOM + peer, text);
    }
  }

  changedElsewhere(key: string, value: unknown): void {
    if (!key.startsWith(ROOM)) return;
    const peer = key.slice(ROOM.length);
    if (typeof value === "string") this.texts.set(peer, value);
    else this.texts.delete(peer);
  }

  /** Nobody is signed in any more. */
  clear(): void {
    for (const peer of [...this.texts.keys()]) this.set(peer, "");
  }
}
