import { describe, expect, it } from "vitest";
import { between, holding, isWhole, moved, whole, zoomed } from "../../src/maths/zoom.ts";

describe("the part of a map that is shown", () => {
  it("grows around a cell, which keeps its place, and stays inside", () => {
    expect(zoomed(whole(100), 0.5, [50, 20], 100)).toEqual({
      top: 25,
      bottom: 75,
      left: 10,
      right: 60,
    });
    const corner = zoomed(whole(100), 0.5, [99, 0], 100);
    expect(corner).toEqual({ top: 50, bottom: 100, left: 0, right: 50 });
    expect(isWhole(zoomed(corner, 10, [70, 10], 100), 100)).toBe(true);
    expect(zoomed(whole(10), 0.01, [9, 9], 10)).toEqual({ top: 6, bottom: 10, left: 6, right: 10 });
  });

  it("is what lies between two cells, but never less than four", () => {
    expect(between([30, 5], [10, 20], 100)).toEqual({ top: 10, bottom: 31, left: 5, right: 21 });
    expect(between([0, 99], [0, 99], 100)).toEqual({ top: 0, bottom: 4, left: 96, right: 100 });
  });

  it("follows the selected row and steps sideways up to the edge", () => {
    const part = { top: 10, bottom: 20, left: 0, right: 10 };
    expect(holding(part, 15)).toBe(part);
    expect(holding(part, 25)).toMatchObject({ top: 16, bottom: 26 });
    expect(holding(part, 3)).toMatchObject({ top: 3, bottom: 13 });
    expect(moved(part, -3, 100)).toEqual(part);
    expect(moved(part, 95, 100)).toMatchObject({ left: 90, right: 100 });
  });
});
