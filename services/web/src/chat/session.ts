/** Who is signed in in this browser; kept in local storage, so all tabs are the same user. */

import type { Keep } from "./keep";

/** The credentials of the next connection. A token is used where the server asks for one. */
export interface Session {
  /** The name as signed in with, or as the server has told since; empty while only a token is known. */
  readonly username: string;
  readonly sessionID: string | null;
  readonly token: string | null;
  /** The token was refused; the session goes on once the person has a new one. */
  readonly expired: boolean;
}

const KEY = "session";

export function loadSession(keep: Keep): Session | null {
  return parseKept(keep.get(KEY));
}

export function saveSession(keep: Keep, session: Session): void {
  keep.set(KEY, session);
}

export function forgetSession(keep: Keep): void {
  keep.remove(KEY);
}

/** Whether a change of what is kept is one of the session, and which session it is now. */
export function sessionChange(key: string, value: unknown): { session: Session | null } | null {
  return key === KEY ? { session: parseKept(value) } : null;
}

function parseKept(value: unknown): Session | null {
  if (typeof value !== "object" || value === null) return null;
  const { username, sessionID, token, expired } = value as Partial<Session>;
  if (typeof username !== "string" || typeof sessionID !== "string") return null;
  return { username, sessionID, token: typeof token === "string" ? token : null, expired: expired === true };
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

/** Why a sign-in was refused, for the person, and what the form should ask for. */
export interface Refusal {
  readonly text: string;
  readonly wantsToken: boolean;
  /** The session is still good: it can be gone on with. */
  readonly resumable?: boolean;
  /** It is what the person wanted, and no fault. */
  readonly wanted?: boolean;
}

/** Put the reason of a CONNECT_ERROR into words; `resumed` tells whether a known session was shown. */
export function refusalOf(message: string, resumed: boolean): Refusal {
  switch (message) {
    case "token expired":
      return { text: "Your access token has expired. Please sign in again.", wantsToken: true };
    case "invalid token":
      return { text: "This server asks for a valid access token.", wantsToken: true };
    case "invalid username":
      return resumed
        ? { text: "Your session has ended. Please sign in again.", wantsToken: false }
        : { text: "This name cannot be used here. Please choose another.", wantsToken: false };
    default:
      return { text: `The server refused: ${message}`, wantsToken: false };
  }
}

/** Put the reason of `session ended` into words; `token` tells whether the session was opened with one. */
export function endingOf(reason: string, token: boolean): Refusal {
  switch (reason) {
    case "log out":
      return { text: "This session was signed out. Please sign in again.", wantsToken: token };
    case "erased":
      return { text: "Your account was erased.", wantsToken: token, wanted: true };
    case "kicked":
      return { text: "An administrator has disconnected you.", wantsToken: token, resumable: true };
    case "revoked":
      return { text: "An administrator has ended your session. Please sign in again.", wantsToken: token };
    default:
      return { text: "Your session has ended. Please sign in again.", wantsToken: token };
  }
}
