/** What people decide over themselves: their sessions, whom they block and mute, and their data. */

import { shallowRef } from "vue";

import type { OwnSession, Relations } from "./contract";
import type { Link, Relating } from "./link";

export class Account {
  /** Whom the user has blocked: neither can write to the other. */
  readonly blocked = shallowRef<ReadonlySet<string>>(new Set());
  /** Whose messages arrive in silence. */
  readonly muted = shallowRef<ReadonlySet<string>>(new Set());

  constructor(private readonly link: () => Link) {}

  /** Take over whom the server says are blocked and muted. */
  took({ blocked, muted }: Relations): void {
    this.blocked.value = new Set(blocked);
    this.muted.value = new Set(muted);
  }

  /** Nobody is blocked or muted as far as known: the server tells at a connect whoever is. */
  clear(): void {
    this.took({ blocked: [], muted: [] });
  }

  /** After a recovery: the server does not mention that nobody is blocked or muted any more. */
  async refresh(): Promise<void> {
    if (this.blocked.value.size + this.muted.value.size > 0) this.took(await this.link().relations());
  }

  async relate(how: Relating, user: string): Promise<void> {
    this.took(await this.link().relate(how, user));
  }

  /** The user's sessions, the one used last first. */
  async sessions(): Promise<OwnSession[]> {
    const sessions = await this.link().sessions();
    return sessions.sort((a, b) => Number(b.current) - Number(a.current) || b.used - a.used);
  }

  /** End another session. */
  async endSession(session: string): Promise<void> {
    await this.link().logOut({ session });
  }

  /** End this session, or every one of the user's. */
  async logOut(everywhere: boolean): Promise<void> {
    await this.link().logOut(everywhere ? { all: true } : {});
  }

  /**
   * All that is kept of the user, as JSON lines.
   *
   * `progress` is told the number of lines so far, after each page.
   */
  async export(progress: (lines: number) => void): Promise<string> {
    const lines: string[] = [];
    let after: string | null = null;
    do {
      const page = await this.link().export(after);
      for (const line of page.lines) lines.push(`${JSON.stringify(line)}\n`);
      ({ after } = page);
      progress(lines.length);
    } while (after !== null);
    return lines.join("");
  }

  /** Erase the user, for good. */
  async erase(userID: string): Promise<void> {
    await this.link().erase(userID);
  }
}
