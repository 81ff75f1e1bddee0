import { describe, expect, it } from "vitest";

import { Conversation } from "../src/chat/conversation";
import { type Listed, listing } from "../src/chat/listing";
import type { Person } from "../src/chat/people";
import { message } from "./support";

const person = (userID: string, username: string, connected = false): Person => ({ userID, username, connected });

function list(people: Person[], query = "", more: Partial<Parameters<typeof listing>[0]> = {}): Listed[] {
  return listing({ me: "me", people, conversations: new Map(), pending: [], query, found: new Set(), ...more });
}

const names = (listed: Listed[]) => listed.map((item) => item.person.username);

describe("the list of people", () => {
  it("has the newest conversations first, then who is here, then the others by name", () => {
    const conversations = new Map(["c", "d"].map((id) => [id, Conversation.create("me", id)]));
    conversations.get("c")!.add(message(1, "c", "me"));
    conversations.get("d")!.add(message(2, "me", "d"));
    const people = [person("a", "Zoe", true), person("b", "adam"), person("c", "Carl"), person("d", "Dora"), person("e", "Eve", true)];
    const listed = list(people, "", { conversations });
    expect(names(listed)).toEqual(["Dora", "Carl", "Eve", "Zoe", "adam"]);
    expect(listed.map((item) => item.unread)).toEqual([0, 1, 0, 0, 0]);
    expect(listed[0]!.preview).toMatchObject({ own: true, content: "message 2" });
  });

  it("shows a message that is still on its way", () => {
    const pending = {
      id: "x",
      to: "a",
      content: "soon",
      created: 5,
      owner: { userID: "me", username: "me" },
      tab: "t",
      failure: null,
      kept: true,
    };
    expect(list([person("a", "Ada")], "", { pending: [pending] })[0]!.preview).toEqual({ own: true, content: "soon", at: 5 });
  });

  it("finds names by any part, without regard to case, and whom the server has found", () => {
    const people = [person("a", "Grace Hopper"), person("b", "Ada"), person("c", "Straße")];
    expect(names(list(people, "HOP"))).toEqual(["Grace Hopper"]);
    expect(names(list(people, "x", { found: new Set(["c"]) }))).toEqual(["Straße"]);
    expect(list(people, "nobody")).toEqual([]);
  });

  it("tells people of the same name apart, and oneself from the others", () => {
    const listed = list([person("aaaa1111", "Ada"), person("bbbb2222", "Ada"), person("me", "Eve")]);
    expect(listed.map((item) => item.tag)).toEqual(["1111", "2222", null]);
    expect(listed.map((item) => item.self)).toEqual([false, false, true]);
  });
});
