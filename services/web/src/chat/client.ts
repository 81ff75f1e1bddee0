/**
 * The state behind the page and everything a person can do with it; knows nothing of the screen.
 *
 * Three rules keep it right: what the server sends is merged, never appended blindly; what the person writes
 * goes through the outbox; and after a return that was not recovered everything is taken anew.
 */

import { shallowReactive, shallowRef } from "vue";

import { Account } from "./account";
import { Burst } from "./burst";
import { type Announcement, ContractError, type Message, RequestError, type UserEntry } from "./contract";
import { Conversation } from "./conversation";
import type { Keep } from "./keep";
import { Link } from "./link";
import { Outbox, type Owner, type Pending } from "./outbox";
import { People, type Person } from "./people";
import {
  endingOf,
  forgetSession,
  handshakeAuth,
  loadSession,
  type Refusal,
  refusalOf,
  saveSession,
  type Session,
  sessionChange,
} from "./session";

/**
 * signed-out: asks for a name. connecting: a session is being opened. ready: people and messages are there
 * (whether or not the connection is at the moment: see `online`).
 */
export type Phase = "signed-out" | "connecting" | "ready";

/** How many messages a page of history asks for. */
const PAGE = 50;
/** How many people a page of the roster asks for. */
const PEOPLE_PAGE = 100;
/** A sign of typing is repeated no more often than this. */
const TYPING_REPEAT_MS = 3_000;
/** How often the messages of a burst come onto the screen. */
const BURST_MS = 50;

export interface ClientPorts {
  readonly url: string;
  readonly keep: Keep;
  /** This tab's id. */
  readonly tab: string;
  whenGone(tab: string, gone: () => void): void;
  /** A message from somebody else, who is not muted, has arrived (not one of a page or a reload). */
  arrived(message: Message, from: Person | undefined): void;
  /** Everything this browser has kept is gone. */
  forgotten(): void;
}

export class Client {
  readonly phase = shallowRef<Phase>("signed-out");
  readonly online = shallowRef(false);
  /** Why the last sign-in, or the session, was refused. */
  readonly refusal = shallowRef<Refusal | null>(null);
  /** The name to offer at the next sign-in, after a session has ended. */
  lastUsername = "";
  readonly me = shallowRef<Owner | null>(null);
  readonly people = new People();
  readonly conversations = shallowReactive(new Map<string, Conversation>());
  readonly outbox: Outbox;
  readonly account = new Account(() => {
    if (this.link === null) throw new Error("signed out");
    return this.link;
  });
  /** The newest announcement that has not been put away. */
  readonly announcement = shallowRef<Announcement | null>(null);

  private session: Session | null = null;
  private link: Link | null = null;
  /** Conversations whose hole is being filled. */
  private readonly filling = new Set<string>();
  /** Peer -> up to where the user has read, as long as the server has not acknowledged it. */
  private readonly unsaidReads = new Map<string, number>();
  /** Peers for whom such a read is under way. */
  private readonly saying = new Set<string>();
  private readonly burst = new Burst<Message>((message) => this.received(message), BURST_MS);
  private readonly typedAt = new Map<string, number>();
  /** This tab has asked the server to end the session. */
  private parting = false;
  /** Where the roster goes on; undefined before its first page, null at its end. */
  private rosterAfter: string | null | undefined = undefined;

  constructor(private readonly ports: ClientPorts) {
    this.outbox = new Outbox(ports.keep, ports.tab, {
      send: (pending) => (this.link === null ? Promise.reject(new Error("signed out")) : this.link.send(pending)),
      stored: (pending, ack) => this.stored(pending, ack.seq, ack.at),
      whenGone: ports.whenGone,
      now: () => Date.now(),
    });
  }

  /** Resume the session this browser has kept, if there is one. */
  start(): void {
    const session = loadSession(this.ports.keep);
    if (session === null) this.refusal.value = null;
    else if (session.expired) this.refusal.value = refusalOf("token expired", true);
    else this.connect(session);
  }

  /** Sign in as somebody; a new token resumes the session that waits for one. */
  signIn(how: { username: string } | { token: string }): void {
    const waiting = "token" in how ? loadSession(this.ports.keep) : null;
    this.connect({ username: "", sessionID: null, token: null, ...waiting, ...how, expired: false });
  }

  /** Leave, and forget everything this browser has kept: the session, drafts, messages not sent. */
  signOut(why: Refusal | null = null): void {
    this.leave();
    this.ports.keep.clear();
    this.ports.forgotten();
    this.refusal.value = why;
    this.lastUsername = "";
  }

  /** Tell the server to end this session, or every one, and sign out. */
  async logOut({ everywhere }: { everywhere: boolean }): Promise<void> {
    this.parting = true;
    try {
      await this.account.logOut(everywhere);
    } catch (error) {
      // This browser forgets its session whatever the server says; only "everywhere" would be a lie.
      if (everywhere && this.session !== null) throw error;
      report(error);
    } finally {
      this.parting = false;
    }
    this.signOut();
  }

  /** Have the server erase the user, and sign out. */
  async erase(): Promise<void> {
    const token = this.session?.token != null;
    this.parting = true;
    try {
      await this.account.erase(this.me.value?.userID ?? "");
    } finally {
      this.parting = false;
    }
    this.signOut(endingOf("erased", token));
  }

  /** The network or the person is back: do not wait for the next attempt. */
  hurry(): void {
    this.link?.hurry();
  }

  /** Another tab has changed what is kept under `key`. */
  changedElsewhere(key: string, value: unknown): void {
    this.outbox.changedElsewhere(key, value);
    const change = sessionChange(key, value);
    if (change === null) return;
    if (change.session === null) {
      // This tab is signed out already and has said why, or is about to be told by the server.
      if (this.session === null || this.parting) return;
      this.leave();
      // The server may have said why already, and more exactly.
      this.refusal.value ??= endingOf("log out", false);
    } else if (change.session.expired) return; // This tab's connection is good for as long as it lasts.
    else if (change.session.sessionID !== this.session?.sessionID) this.connect(change.session);
    else this.session = change.session;
  }

  /** The conversation with `peer`, made when it does not exist yet. */
  conversation(peer: string): Conversation {
    let found = this.conversations.get(peer);
    if (found === undefined) {
      found = Conversation.create(this.me.value?.userID ?? "", peer);
      this.conversations.set(peer, found);
    }
    return found;
  }

  /** Returns the message on its way. */
  send(peer: string, content: string): Pending {
    this.typedAt.delete(peer);
    return this.outbox.add(peer, content);
  }

  /** The person has seen the conversation up to `seq`. */
  read(peer: string, seq: number): void {
    if (!this.conversation(peer).markRead(seq)) return;
    this.unsaidReads.set(peer, seq);
    if (this.online.value) void this.sayRead(peer, seq);
  }

  /** The person is writing to `peer`. */
  typing(peer: string): void {
    const now = Date.now();
    if (now - (this.typedAt.get(peer) ?? 0) < TYPING_REPEAT_MS) return;
    this.typedAt.set(peer, now);
    this.link?.typing(peer);
  }

  /** Load the next older page of the conversation, if there is one and none is being loaded. */
  async loadOlder(peer: string): Promise<void> {
    const conversation = this.conversation(peer);
    const link = this.link;
    if (link === null || !this.online.value || (conversation.older !== "ask" && conversation.older !== "failed")) return;
    conversation.older = "loading";
    const before = conversation.messages[0]?.seq ?? null;
    try {
      const page = await link.history(peer, before, PAGE);
      // While waiting, a reload may have replaced the messages: a page that no longer fits is not joined.
      if (conversation.older === "loading" && (conversation.messages[0]?.seq ?? null) === before) {
        conversation.addPage(page);
        this.settle(page.messages);
      }
    } catch (error) {
      if (conversation.older === "loading") conversation.older = "failed";
      report(error);
    }
  }

  /** Find people by the beginning of their name, beyond those already known. Returns whom it found. */
  async search(query: string): Promise<string[]> {
    if (this.link === null || !this.online.value) return [];
    try {
      const page = await this.link.users(query, null, PEOPLE_PAGE);
      page.users.forEach((entry) => this.meet(entry));
      return page.users.map((entry) => entry.userID);
    } catch (error) {
      report(error);
      return [];
    }
  }

  /** Load the next page of everybody: the roster sent at connect is capped. */
  async loadPeople(): Promise<void> {
    const link = this.link;
    if (link === null || !this.online.value || this.rosterAfter === null) return;
    const after = this.rosterAfter ?? null;
    this.rosterAfter = null; // One page at a time.
    try {
      const page = await link.users("", after, PEOPLE_PAGE);
      page.users.forEach((entry) => this.meet(entry));
      this.rosterAfter = page.after;
    } catch (error) {
      this.rosterAfter = after;
      report(error);
    }
  }

  private connect(session: Session): void {
    this.leave();
    this.session = session;
    this.refusal.value = null;
    this.phase.value = "connecting";
    const link = new Link(this.ports.url, () => handshakeAuth(this.session ?? session), {
      connect: (recovered) => {
        if (!recovered) return;
        this.caughtUp();
        this.account.refresh().catch(report);
      },
      disconnect: () => {
        this.burst.flush();
        this.online.value = false;
        this.outbox.setConnected(false);
        this.people.lostSight();
      },
      refused: (message) => this.refused(message),
      session: (sessionID, userID) => this.opened(sessionID, userID),
      users: (entries) => this.reset(entries),
      userConnected: (entry) => this.meet(entry),
      userDisconnected: (userID) => this.people.disconnected(userID),
      message: (message) => this.burst.add(message),
      read: ({ from, to, seq }) => {
        this.burst.flush();
        if (from === this.me.value?.userID) this.conversations.get(to)?.markRead(seq);
        else this.peerRead(from, seq);
      },
      typing: (userID) => this.people.startedTyping(userID),
      relations: (relations) => this.account.took(relations),
      announcement: (announcement) => (this.announcement.value = announcement),
      ended: (reason) => this.ended(reason),
    });
    this.link = link;
    link.open();
  }

  private leave(): void {
    this.burst.clear();
    this.link?.close();
    this.link = null;
    this.session = null;
    this.phase.value = "signed-out";
    this.online.value = false;
    this.me.value = null;
    this.outbox.close();
    this.account.clear();
    this.announcement.value = null;
    this.people.clear();
    this.conversations.clear();
    this.unsaidReads.clear();
    this.rosterAfter = undefined;
  }

  private refused(message: string): void {
    const session = this.session;
    this.leave();
    const refusal = refusalOf(message, session?.sessionID != null);
    this.refusal.value = refusal;
    this.lastUsername = session?.username ?? "";
    if (refusal.wantsToken && session?.sessionID != null) {
      saveSession(this.ports.keep, { ...session, token: null, expired: true });
    } else {
      forgetSession(this.ports.keep);
    }
  }

  /** The session was ended, here or elsewhere; the server closes the socket for good. */
  private ended(reason: string): void {
    const { username = "", token = null } = this.session ?? {};
    const why = endingOf(reason, token !== null);
    // Whoever signs out from afar, or erases themselves, wants nothing to be left here either.
    if (reason === "log out" || reason === "erased") this.signOut(why);
    else {
      this.leave();
      this.refusal.value = why;
      if (!why.resumable) forgetSession(this.ports.keep);
    }
    if (reason !== "erased") this.lastUsername = username;
  }

  private opened(sessionID: string, userID: string): void {
    if (this.session === null) return;
    this.account.clear();
    if (this.me.value !== null && this.me.value.userID !== userID) this.conversations.clear();
    this.session = { ...this.session, sessionID };
    this.me.value = { userID, username: this.session.username };
  }

  private reset(entries: UserEntry[]): void {
    const me = this.me.value;
    if (me === null || this.session === null) throw new ContractError("users came before session");
    this.burst.flush();
    const username = entries.find((entry) => entry.userID === me.userID)?.username ?? me.username;
    if (username !== me.username) this.me.value = { ...me, username };
    this.session = { ...this.session, username };
    saveSession(this.ports.keep, this.session);
    this.people.reset(entries);
    for (const entry of entries) {
      if (entry.seq > 0 || this.conversations.has(entry.userID)) this.conversation(entry.userID).reset(entry);
    }
    // What was read while away is news to the server, not to the person.
    for (const [peer, seq] of this.unsaidReads) this.conversations.get(peer)?.markRead(seq);
    this.rosterAfter = undefined;
    if (this.phase.value !== "ready") this.outbox.open({ userID: me.userID, username });
    entries.forEach((entry) => this.settle(entry.messages));
    this.phase.value = "ready";
    this.caughtUp();
  }

  private caughtUp(): void {
    this.online.value = true;
    this.outbox.setConnected(true);
    for (const [peer, seq] of this.unsaidReads) void this.sayRead(peer, seq);
  }

  private async sayRead(peer: string, seq: number): Promise<void> {
    if (this.saying.has(peer)) return; // What is read meanwhile is said next, all at once.
    this.saying.add(peer);
    let said = true;
    try {
      await this.link?.read(peer, seq);
    } catch (error) {
      report(error);
      // A passing fault: it is said again at the next connection, or with the next message that is read.
      said = error instanceof RequestError && !error.failure.retryable;
    }
    this.saying.delete(peer);
    if (!said) return;
    const newest = this.unsaidReads.get(peer);
    if (newest === seq) this.unsaidReads.delete(peer);
    else if (newest !== undefined && this.online.value) void this.sayRead(peer, newest);
  }

  /** Take over what a page or an event says about a person. */
  private meet(entry: UserEntry): void {
    this.people.set(entry);
    const known = this.conversations.get(entry.userID);
    // A known conversation is kept up to date by events; a page may be older than those.
    if (entry.seq > 0 && (known === undefined || known.seq === 0)) this.conversation(entry.userID).reset(entry);
  }

  private received(message: Message): void {
    const me = this.me.value?.userID;
    const peer = message.from === me ? message.to : message.from;
    const conversation = this.conversation(peer);
    const fresh = conversation.add(message);
    this.outbox.settle(message.id);
    this.fill(conversation);
    if (message.from === me || !fresh) return;
    this.people.stoppedTyping(peer);
    if (!this.account.muted.value.has(peer)) this.ports.arrived(message, this.people.all.get(peer));
  }

  private peerRead(peer: string, seq: number): void {
    const conversation = this.conversations.get(peer);
    if (conversation !== undefined) conversation.peerRead = Math.max(conversation.peerRead, seq);
  }

  private stored({ id, to, content, owner }: Pending, seq: number, at: number): void {
    this.burst.flush();
    const conversation = this.conversation(to);
    conversation.add({ id, seq, at, from: owner.userID, to, content });
    this.fill(conversation);
  }

  private settle(messages: readonly Message[]): void {
    for (const message of messages) if (message.from === this.me.value?.userID) this.outbox.settle(message.id);
  }

  /** Load what a hole lacks, unless it is the place of a message that is being acknowledged. */
  private fill(conversation: Conversation): void {
    const { peer } = conversation;
    if (this.filling.has(peer) || this.outbox.isBusy(peer) || conversation.hole() === null) return;
    this.filling.add(peer);
    void this.fillHole(conversation).finally(() => this.filling.delete(peer));
  }

  private async fillHole(conversation: Conversation): Promise<void> {
    for (let hole = conversation.hole(); hole !== null && this.link !== null; hole = conversation.hole()) {
      try {
        const page = await this.link.history(conversation.peer, hole, PAGE);
        if (conversation.merge(page.messages) === 0) conversation.dropBefore(hole);
      } catch (error) {
        report(error);
        return; // The next message, or the next connection, brings another try.
      }
    }
  }
}

/** Refusals and broken connections are shown where they matter; anything else is a fault for the console. */
function report(error: unknown): void {
  if (error instanceof RequestError) console.warn(`request refused: ${error.failure.code}`);
  else if (error instanceof ContractError) console.error(error);
}
