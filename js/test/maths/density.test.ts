// @vitest-environment node
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  density,
  instructionScore,
  levels,
  rawDensity,
  relativeDensity,
} from "../../src/maths/density.ts";

const examples = JSON.parse(
  readFileSync(new URL("../../../tests/data/worked_examples.json", import.meta.url), "utf8"),
);
const matrix: number[][] = examples.density.I;
const columns = matrix[0]!.length;
const flat = matrix.flat();
const close = (got: ArrayLike<number>, wanted: number[]) =>
  wanted.forEach((value, i) => {
    expect(got[i]).toBeCloseTo(value, 5);
  });

describe("the paper's worked example", () => {
  it("gives its levels", () => {
    expect([...levels(flat, columns)]).toEqual(examples.density.levels.flat());
  });

  it.each([
    ["b7", 7],
    ["b0", 0],
  ] as const)("gives its densities and score at %s", (name, threshold) => {
    const wanted = examples.density[name];
    const raw = rawDensity(levels(flat, columns), columns, threshold);
    close(raw, wanted.raw_density);
    close(relativeDensity(raw), wanted.density);
    expect(instructionScore(relativeDensity(raw), [0, 1])).toBeCloseTo(wanted.score, 5);
    const settings = { levels: 10, threshold, norm: 4 };
    close(density(flat, columns, { ...settings, relative: true }), wanted.density);
    close(density(flat, columns, { ...settings, relative: false }), wanted.raw_density);
  });

  it("keeps tiny columns below the top level and empty ones at 0", () => {
    const tiny = examples.density_tiny_column;
    expect([...levels(tiny.I.flat(), 2)]).toEqual(tiny.levels.flat());
  });
});

describe("scored tokens", () => {
  it("set the maximum; the others are cut off at L", () => {
    expect([...levels([8, 2, 1], 1, 10, [1, 2])]).toEqual([10, 10, 5]);
  });
  it("set the density's maximum", () => {
    close(relativeDensity(Float64Array.of(4, 2, 1), [1, 2]), [2, 1, 0.5]);
  });
  it("score nothing without an instruction", () => {
    expect(instructionScore([1, 2], [])).toBe(0);
  });
});
