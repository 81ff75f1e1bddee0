/** The list of people as the screen shows it: who is in it, in which order, with what beside the name. */

import type { Conversation } from "./conversation";
import type { Pending } from "./outbox";
import type { Person } from "./people";

export interface Listed {
  readonly person: Person;
  readonly self: boolean;
  /** Tells people of the same name apart; null where the name is unique. */
  readonly tag: string | null;
  readonly unread: number;
  /** The newest message, own or theirs, or null. */
  readonly preview: { readonly own: boolean; readonly content: string; readonly at: number } | null;
}

export interface ListingSource {
  readonly me: string;
  readonly people: Iterable<Person>;
  readonly conversations: ReadonlyMap<string, Conversation>;
  readonly pending: Iterable<Pending>;
  readonly query: string;
  /** Whom the server has found for the query, beyond those whose name contains it. */
  readonly found: ReadonlySet<string>;
}

const collator = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });

/** Conversations first, the newest on top; then the others by name, those who are here before those who are not. */
export function listing({ me, people, conversations, pending, query, found }: ListingSource): Listed[] {
  const wanted = fold(query.trim());
  const names = new Map<string, number>();
  const waiting = new Map<string, Pending>();
  for (const item of pending) waiting.set(item.to, item);

  const listed: Listed[] = [];
  for (const person of people) {
    names.set(person.username, (names.get(person.username) ?? 0) + 1);
    if (wanted !== "" && !fold(person.username).includes(wanted) && !found.has(person.userID)) continue;
    const conversation = conversations.get(person.userID);
    listed.push({
      person,
      self: person.userID === me,
      tag: null,
      unread: conversation?.unread ?? 0,
      preview: previewOf(me, conversation, waiting.get(person.userID)),
    });
  }
  listed.sort((a, b) => {
    const newer = (b.preview?.at ?? 0) - (a.preview?.at ?? 0);
    const here = Number(b.person.connected) - Number(a.person.connected);
    return newer || here || collator.compare(a.person.username, b.person.username);
  });
  return listed.map((item) =>
    names.get(item.person.username)! > 1 ? { ...item, tag: item.person.userID.slice(-4) } : item,
  );
}

function previewOf(me: string, conversation: Conversation | undefined, waiting: Pending | undefined): Listed["preview"] {
  if (waiting !== undefined) return { own: true, content: waiting.content, at: waiting.created };
  const last = conversation?.last;
  return last === undefined ? null : { own: last.from === me, content: last.content, at: last.at };
}

function fold(text: string): string {
  return text.normalize("NFKC").toLocaleLowerCase();
}
