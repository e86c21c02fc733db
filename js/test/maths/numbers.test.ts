import { describe, expect, it } from "vitest";
import { equal, spearman } from "../../src/maths/numbers.ts";

describe("numbers", () => {
  it("are the same where all of them are", () => {
    expect(equal(Uint8Array.of(1, 2), [1, 2])).toBe(true);
    expect(equal([1, 2], [1, 3])).toBe(false);
    expect(equal([0, 2], [1, 2])).toBe(false);
    expect(equal([], [1])).toBe(false);
  });

  it("have a rank correlation that shares ties and leaves out what is not measured", () => {
    const { NaN: none } = Number;
    expect(spearman([1, 2, 3, 4, none], [10, 20, 30, 40, 0])).toEqual({ rho: 1, n: 4 });
    expect(spearman([1, 2, 3, 4], [4, 3, none, 1]).rho).toBeCloseTo(-1, 12);
    // Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3.
    expect(spearman([1, 2, 2, 3], [1, 2, 3, 4]).rho).toBeCloseTo(4.5 / Math.sqrt(4.5 * 5), 12);
    expect(spearman([1, 2], [1, 2]).rho).toBeNaN();
  });
});
