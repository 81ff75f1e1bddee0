/** Everybody the page knows of, their presence, and who is typing. */

import { shallowReactive } from "vue";

import type { UserEntry } from "./contract";

/** One person. Immutable: a change replaces the object. */
export interface Person {
  readonly userID: string;
  readonly username: string;
  readonly connected: boolean;
}

/** How long a sign of typing lasts unless it is repeated. */
export const TYPING_MS = 6_000;

export class People {
  readonly all = shallowReactive(new Map<string, Person>());
  /** Who is typing to the user now. */
  readonly typing = shallowReactive(new Set<string>());
  private readonly timers = new Map<string, ReturnType<typeof setTimeout>>();

  /** Take over the roster sent at connect. Somebody it does not name is unknown or beyond its cap: offline. */
  reset(entries: readonly UserEntry[]): void {
    const named = new Set(entries.map((entry) => entry.userID));
    for (const person of this.all.values()) {
      if (!named.has(person.userID) && person.connected) this.all.set(person.userID, { ...person, connected: false });
    }
    for (const entry of entries) this.set(entry);
  }

  /** Add a person or what is new about them. */
  set({ userID, username, connected }: Person): void {
    const known = this.all.get(userID);
    if (known?.username === username && known.connected === connected) return;
    this.all.set(userID, { userID, username, connected });
  }

  disconnected(userID: string): void {
    const known = this.all.get(userID);
    if (known !== undefined) this.set({ ...known, connected: false });
    this.stoppedTyping(userID);
  }

  startedTyping(userID: string): void {
    this.stoppedTyping(userID);
    this.typing.add(userID);
    this.timers.set(
      userID,
      setTimeout(() => this.stoppedTyping(userID), TYPING_MS),
    );
  }

  stoppedTyping(userID: string): void {
    clearTimeout(this.timers.get(userID));
    this.timers.delete(userID);
    this.typing.delete(userID);
  }

  /** The connection is gone: nobody is known to be typing. */
  lostSight(): void {
    for (const userID of [...this.timers.keys()]) this.stoppedTyping(userID);
  }

  clear(): void {
    this.lostSight();
    this.all.clear();
  }
}
