import { describe, expect, it } from "vitest";
import { PALETTES } from "../../src/contract/palette.ts";
import { css, diverging, mix, type Rgb, rgb, sequential } from "../../src/draw/theme.ts";

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

/** WCAG contrast ratio of two colours, 1 to 21. */
function contrast(first: Rgb, second: Rgb): number {
  const [light, dark] = [luminance(first), luminance(second)].sort((a, b) => b - a) as [
    number,
    number,
  ];
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: Rgb): number {
  const [r, g, b] = colour.map((channel) => {
    const c = channel / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
