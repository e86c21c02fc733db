import { describe, expect, it } from "vitest";
import { type CloudWord, layoutZones, overlap } from "../../src/draw/cloud.ts";
import { number, percent, quote, signed, tokenText, visible } from "../../src/draw/format.ts";
import { contrast, css, mix, rgb } from "../../src/draw/scales.ts";
import { diverging, PALETTES, sequential } from "../../src/draw/theme.ts";
import { made } from "../fixture.ts";

describe("cloud", () => {
  const measure = (text: string, size: number) => [...text].length * size * 0.6;
  const zone = (seed: string, length: number): CloudWord[] =>
    Array.from({ length }, (_, i) => ({
      text: `${seed}${"x".repeat(Math.floor(made(seed, i) * 12))}${i}`,
      weight: made(`${seed}w`, i),
      italic: i % 2 === 0,
    }));
  const options = { largest: 28, smallest: 10.5, measure };

  it.each([
    [640, 250, 9, 15, 9],
    [360, 250, 20, 20, 20],
    [340, 120, 40, 0, 36],
    [900, 260, 36, 36, 36],
    [120, 60, 1, 1, 1],
  ])("places every word inside %i x %i without overlap", (width, height, a, b, c) => {
    const input = [zone("a", a), zone("b", b), zone("c", c)];
    const ends = [zone("d", c), zone("e", a), zone("f", b)];
    for (const grid of [[input], input.map((words) => [words]), [input, ends]]) {
      const zones = layoutZones(grid, { ...options, width, height });
      const texts = (list: { text: string }[]) => list.map((word) => word.text);
      expect(zones.map((row) => row.map(({ words }) => texts(words)))).toEqual(
        grid.map((row) => row.map(texts)),
      );
      for (const { words, width: w, height: h } of zones.flat()) {
        const outside = words.filter(
          (word) =>
            word.x < 0 ||
            word.y < 0 ||
            word.x + word.width > w + 1e-9 ||
            word.y + word.height > h + 1e-9 ||
            word.size < options.smallest,
        );
        const crossing = words.filter((word, i) =>
          words.slice(i + 1).some((other) => overlap(word, other)),
        );
        expect([outside, crossing]).toEqual([[], []]);
      }
    }
  });

  it("is the same every time, with larger words for larger scores", () => {
    const input = [[zone("a", 12), zone("b", 12), zone("c", 12)]];
    const first = layoutZones(input, { ...options, width: 600, height: 250 });
    expect(layoutZones(input, { ...options, width: 600, height: 250 })).toEqual(first);
    const words = first
      .flat()
      .flatMap((one) => one.words)
      .sort((p, q) => p.weight - q.weight);
    for (let i = 1; i < words.length; i++) {
      expect(words[i]!.size).toBeGreaterThanOrEqual(words[i - 1]!.size);
    }
  });

  it("places a word that is wider than its zone", () => {
    const long = [{ text: "x".repeat(60), weight: 1, italic: false }];
    const first = layoutZones([[long, [], []]], { ...options, width: 300, height: 100 })[0]![0];
    expect(first!.words[0]!.shown).toMatch(/^x+…$/);
    expect(first!.words[0]!.size).toBeGreaterThanOrEqual(options.smallest);
  });
});

describe("colours", () => {
  it.each(["light", "dark"] as const)("of the %s theme can be told from the background", (name) => {
    const palette = PALETTES[name];
    const against = (colour: string, ground: string) => contrast(rgb(colour), rgb(ground));
    for (const ground of [palette.background, palette.shade]) {
      for (const mark of [palette.base, palette.tuned, palette.both]) {
        expect(against(mark, ground)).toBeGreaterThanOrEqual(3);
      }
      for (const text of [palette.ink, palette.muted, palette.baseText, palette.tunedText]) {
        expect(against(text, ground)).toBeGreaterThanOrEqual(4.5);
      }
    }
    expect(against(palette.both, palette.background)).toBeGreaterThanOrEqual(4.5);
  });

  it.each(["light", "dark"] as const)("of the %s scales run from neutral to the side", (name) => {
    const palette = PALETTES[name];
    expect(sequential(palette, "base")(0)).toEqual(rgb(palette.neutral));
    expect(sequential(palette, "tuned")(1)).toEqual(rgb(palette.tuned));
    const scale = diverging(palette);
    expect([scale(-1), scale(0), scale(1)]).toEqual(
      [palette.base, palette.neutral, palette.tuned].map(rgb),
    );
    expect(scale(-5)).toEqual(scale(-1));
  });

  it("mix and contrast as WCAG defines", () => {
    expect(contrast(rgb("#000000"), rgb("#ffffff"))).toBeCloseTo(21, 5);
    expect(contrast(rgb("#767676"), rgb("#ffffff"))).toBeCloseTo(4.54, 2);
    expect(css(mix(rgb("#000000"), rgb("#ffffff"), 0.5))).toBe("rgb(128 128 128)");
  });
});

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

  it("shows what is invisible, and keeps what is not", () => {
    expect(visible("a\n\t\u0000\u202e")).toBe("a↵⇥␀‹U+202E›");
    expect(visible("👩‍💻 שלום \\xf0 <b>")).toBe("👩‍💻 שלום \\xf0 <b>");
    expect(tokenText(" dog")).toEqual({ gap: true, word: "dog" });
    expect(tokenText("   x")).toEqual({ gap: true, word: "··x" });
    expect(tokenText(" ")).toEqual({ gap: true, word: "␣" });
    expect(quote("\n")).toBe("“\u2068↵\u2069”");
  });
});
