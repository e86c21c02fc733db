import { describe, expect, it } from "vitest";
import { type CloudWord, layoutZones, overlap } from "../../src/draw/cloud.ts";
import { made } from "../fixture.ts";

describe("cloud", () => {
  const measure = (text: string, size: number) => [...text].length * size * 0.6;
  const zone = (seed: string, length: number): CloudWord[] =>
    Array.from({ length }, (_, i) => ({
      text: `${seed}${"x".repeat(Math.floor(made(seed, i) * 12))}${i}`,
      weight: made(`${seed}w`, i),
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
    const long = [{ text: "x".repeat(60), weight: 1 }];
    const first = layoutZones([[long, [], []]], { ...options, width: 300, height: 100 })[0]![0];
    expect(first!.words[0]!.shown).toMatch(/^x+…$/);
    expect(first!.words[0]!.size).toBeGreaterThanOrEqual(options.smallest);
  });
});
