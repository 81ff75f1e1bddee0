/** Who is signed in in this browser; kept in local storage, so all tabs are the same user. */

import type { Keep } from "./keep";

/** The credentials of the next connection. A token is used where the server asks for one. */
export interface Session {
  /** The name as signed in with, or as the server has told since; empty while only a token is known. */
  readonly username: string;
  readonly sessionID: string | null;
  readonly token: string | null;
}

const KEY = "session";

export function loadSession(keep: Keep): Session | null {
  return parseSessionKept(keep.get(KEY));
}

export function saveSession(keep: Keep, session: Session): void {
  keep.set(KEY, session);
}

export function forgetSession(keep: Keep): void {
  keep.remove(KEY);
}

export function isSessionKey(key: string): boolean {
  return key === KEY;
}

/** Read what a tab has kept; null for anything that is not a session. */
export function parseSessionKept(value: unknown): Session | null {
  if (typeof value !== "object" || value === null) return null;
  const { username, sessionID, token } = value as Partial<Session>;
  if (typeof username !== "string") return null;
  const session = {
    username,
    sessionID: typeof sessionID === "string" ? sessionID : null,
    token: typeof token === "string" ? token : null,
  };
  return session.sessionID === null && session.token === null && username === "" ? null : session;
}

/**
 * What the handshake carries.
 *
 * A known session is resumed by its id alone: were the name sent with it, an expired session would
 * silently become a new user, whom the old conversations do not know.
 */
export function handshakeAuth(session: Session): Record<string, string> {
  const auth: Record<string, string> = {};
  if (session.sessionID !== null) auth["sessionID"] = session.sessionID;
  else if (session.username !== "") auth["username"] = session.username;
  if (session.token !== null) auth["token"] = session.token;
  return auth;
}
