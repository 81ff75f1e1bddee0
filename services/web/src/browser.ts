/** Where the client's state meets the browser: storage, other tabs, network changes, the address. */

import { shallowRef, type ShallowRef, watch } from "vue";

import { Attention } from "./chat/attention";
import { Client } from "./chat/client";
import { Drafts } from "./chat/drafts";
import { randomId } from "./chat/ids";
import { browserShelf, Keep } from "./chat/keep";

export interface Chat {
  readonly client: Client;
  readonly drafts: Drafts;
  readonly attention: Attention;
  /** The person whose conversation is open, null for none. Follows the address, so Back works. */
  readonly open: Readonly<ShallowRef<string | null>>;
  show(peer: string | null): void;
}

const ADDRESS = /^#\/with\/([A-Za-z0-9_-]+)$/;

/** Build the page's state and tie it to this tab. Called once. */
export function createChat(): Chat {
  const keep = new Keep(browserShelf());
  const tab = randomId();
  const attention = new Attention(keep);
  const drafts = new Drafts(keep);
  const client = new Client({
    url: location.origin,
    keep,
    tab,
    whenGone,
    arrived: (message, from) => attention.arrived(message, from),
    forgotten: () => drafts.clear(),
  });
  holdLock(tab);

  keep.watch(window, (key, value) => {
    client.changedElsewhere(key, value);
    drafts.changedElsewhere(key, value);
    attention.changedElsewhere(key, value);
  });
  window.addEventListener("online", () => client.hurry());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") client.hurry();
  });

  const token = takeToken();
  if (token !== null) client.signIn({ token });
  else client.start();

  const open = shallowRef<string | null>(addressed());
  window.addEventListener("hashchange", () => (open.value = addressed()));
  const show = (peer: string | null): void => {
    open.value = peer;
    const address = peer === null ? location.pathname : `#/with/${peer}`;
    if (addressed() !== peer) history.pushState(null, "", address);
  };
  window.addEventListener("popstate", () => (open.value = addressed()));
  watch(client.phase, (phase) => {
    if (phase === "signed-out") show(null);
  });
  return { client, drafts, attention, open, show };
}

function addressed(): string | null {
  return ADDRESS.exec(location.hash)?.[1] ?? null;
}

/**
 * Take a token that an identity provider has put behind `#token=`, and remove it from the address.
 *
 * The fragment never reaches a server, and the address bar and history do not keep it.
 */
function takeToken(): string | null {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(null, "", location.pathname);
  return token;
}

/** Hold a lock for as long as this tab lives, so that others notice when it is gone. */
function holdLock(tab: string): void {
  const forever = new Promise<never>(() => undefined);
  // Only secure origins have locks; without them `whenGone` does not wait.
  if (navigator.locks !== undefined) void navigator.locks.request(lockName(tab), () => forever);
}

function whenGone(tab: string, gone: () => void): void {
  if (navigator.locks === undefined) gone();
  else void navigator.locks.request(lockName(tab), gone);
}

function lockName(tab: string): string {
  return `parley.tab.${tab}`;
}
