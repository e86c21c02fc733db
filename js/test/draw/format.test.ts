import { describe, expect, it } from "vitest";
import {
  number,
  outOfOne,
  percent,
  quote,
  signed,
  smallEffects,
  tokenText,
  visible,
} from "../../src/draw/format.ts";

describe("text", () => {
  it("shows numbers with three digits and a true minus sign", () => {
    expect([0, 1, 0.1234, -12.345, 123.6, 2e-5, 1 / (1 + 1e-9)].map(number)).toEqual([
      "0",
      "1",
      "0.123",
      "−12.3",
      "124",
      "2.0e−5",
      "1",
    ]);
    expect(signed(0.5)).toBe("+0.500");
    expect(number(Number.NaN)).toBe("–");
    expect(percent(0.4567)).toBe("46 %");
    expect(percent(0.0123)).toBe("1.2 %");
  });

  it("says of nats that all are small, and what that is of a probability", () => {
    expect(smallEffects(0.004, " nats")).toBe(
      "All of it is small: at most 0.4 % of a probability.",
    );
    expect([smallEffects(0.1, " nats"), smallEffects(0, " nats"), smallEffects(0.004, "")]).toEqual(
      ["", "", ""],
    );
  });

  it("shows what is invisible, and keeps what is not", () => {
    expect(visible("a\n\t\u0000\u202e")).toBe("a↵⇥␀‹U+202E›");
    expect(visible("👩‍💻 שלום \\xf0 <b>")).toBe("👩‍💻 שלום \\xf0 <b>");
    expect(visible("\u00a0\u3000\u2028\u00ad\u3164\ue000")).toBe(
      "⍽‹U+3000›‹U+2028›‹U+00AD›‹U+3164›‹U+E000›",
    );
    // What shapes a character stays with it, and is shown where a token has nothing else.
    const joined = "❤️ क्‍ष 🏴\u{e0067}\u{e007f}";
    expect(visible(joined)).toBe(joined);
    expect(["\u200d", "\ufe0f", "\u0301", "\u093fa"].map(visible)).toEqual([
      "‹U+200D›",
      "‹U+FE0F›",
      "◌\u0301",
      "◌\u093fa",
    ]);
    expect(tokenText(" dog")).toEqual({ gap: true, word: "dog" });
    expect(tokenText("   x")).toEqual({ gap: true, word: "··x" });
    expect(tokenText(" ")).toEqual({ gap: true, word: "␣" });
    expect(quote("\n")).toBe("“\u2068↵\u2069”");
  });
});

it("says of a share next to nothing that it is that", () => {
  expect([6.2e-5, -6.2e-5, 0, 0.0006, 0.5].map((share) => outOfOne(share))).toEqual([
    "< 0.001",
    "> −0.001",
    "0",
    "0.001",
    "0.500",
  ]);
});
