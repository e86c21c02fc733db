import { describe, expect, it } from "vitest";
import { PALETTES } from "../../src/contract/palette.ts";
import { contrast, css, mix, rgb } from "../../src/draw/scales.ts";
import { diverging, sequential } from "../../src/draw/theme.ts";

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
