import { describe, expect, it } from "vitest";
import { colourScale, pool } from "../../src/draw/heatmap.ts";
import type { Part } from "../../src/maths/zoom.ts";
import { whole } from "../../src/maths/zoom.ts";

describe("a map that is larger than its picture", () => {
  const side = 4;
  // Row q, column k holds q + k / 10; the cell (3, 1) is the negative exception.
  const values = Float32Array.from({ length: 16 }, (_, i) => Math.floor(i / 4) + (i % 4) / 10);
  values[13] = -9;

  it("keeps the value of largest size of every cell, and no future", () => {
    const half = pool(values, side, whole(4), 2, 2, false);
    expect([...half].map((x) => Math.round(x * 10) / 10)).toEqual([1.1, Number.NaN, -9, 3.3]);
  });

  it("sets the first column aside, and shows a part as it is", () => {
    const shown = pool(values, side, { top: 1, bottom: 3, left: 0, right: 3 }, 2, 3, true);
    const rounded = [...shown].map((x) => Math.round(x * 10) / 10);
    expect(rounded).toEqual([Number.NaN, 1.1, Number.NaN, Number.NaN, 2.1, 2.2]);
  });
});

describe("the colour scale of a map", () => {
  it("goes up to the largest value that is shown", () => {
    const values = Float32Array.from({ length: 16 }, (_, i) => i);
    const scale = (part: Part, skip: boolean) => colourScale(values, 4, part, skip);
    expect(scale(whole(4), false)).toEqual({ full: 15, clips: false });
    expect(scale({ top: 0, bottom: 3, left: 0, right: 4 }, false).full).toBe(10);
    expect(scale({ top: 2, bottom: 3, left: 0, right: 1 }, true).full).toBe(0);
  });

  it("leaves the first rows of a long prompt out, and says so", () => {
    const side = 300;
    const values = Float32Array.from(
      { length: side * side },
      (_, i) => 1 / (1 + Math.floor(i / side)),
    );
    const { full, clips } = colourScale(values, side, whole(side), false);
    expect(clips).toBe(true);
    // 0.2 % of the cells are the first 12 rows or so.
    expect(full).toBeGreaterThan(1 / 14);
    expect(full).toBeLessThan(1 / 11);
  });
});
