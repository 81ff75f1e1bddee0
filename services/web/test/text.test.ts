import { describe, expect, it } from "vitest";

import { characters, folded, isLargeEmoji, pieces } from "../src/chat/text";

const links = (text: string) => pieces(text).filter(({ href }) => href !== null);

describe("links", () => {
  it.each([
    ["see https://example.org.", "https://example.org/"],
    ["(https://example.org/a_(b))", "https://example.org/a_(b)"],
    ["https://example.org/?a=1&b=2, and more", "https://example.org/?a=1&b=2"],
    ["www.example.org/x", "https://www.example.org/x"],
    ["HTTP://EXAMPLE.ORG/Path", "http://example.org/Path"],
    ["http://localhost:3000/", "http://localhost:3000/"],
    ["«https://example.org/é»", "https://example.org/%C3%A9"],
  ])("finds the link in %s", (text, href) => {
    expect(links(text).map((piece) => piece.href)).toEqual([href]);
  });

  it.each(["javascript:alert(1)", "data:text/html,x", "https://", "ftp://example.org", "http://nodots", "a.b.c", "file:///etc"])(
    "sees none in %s",
    (text) => expect(links(text)).toEqual([]),
  );

  it("never loses or adds a character", () => {
    for (const text of ["", "plain", "a https://example.org/) b www.x.y, c", "https://a.b https://c.d"]) {
      expect(
        pieces(text)
          .map((piece) => piece.text)
          .join(""),
      ).toBe(text);
    }
  });

  it("does not let an address hide what it leads to behind direction marks", () => {
    expect(links("https://example.org/\u202egpj.exe")[0]!.text).toBe("https://example.org/");
  });
});

describe("emoji", () => {
  it.each(["😀", "👍🏽", "❤️", "👩‍👩‍👧‍👦 🎉", "🇩🇪🇫🇷", "🎉🎉🎉"])("shows %s large", (text) => {
    expect(isLargeEmoji(text)).toBe(true);
  });

  it.each(["", "12", "#", "hi 😀", "😀😀😀😀", ":)"])("shows %s as text", (text) => {
    expect(isLargeEmoji(text)).toBe(false);
  });
});

describe("long messages", () => {
  it("folds many lines", () => {
    const text = Array.from({ length: 100 }, (_, index) => `line ${index}`).join("\n");
    expect(folded(text)!.split("\n")).toHaveLength(24);
  });

  it("folds many characters, never within one", () => {
    const short = folded("😀".repeat(2000))!;
    expect(short.isWellFormed()).toBe(true);
    expect(short.length).toBeLessThanOrEqual(1600);
  });

  it("leaves short ones alone", () => {
    expect(folded("hello\nworld")).toBeNull();
    expect(folded("x".repeat(1700))).toBeNull();
  });
});

it("counts characters as the server does", () => {
  expect(characters("a😀é")).toBe(3);
});
