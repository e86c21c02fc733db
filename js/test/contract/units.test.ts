import { describe, expect, it } from "vitest";
import { parseUnit, readingPosition } from "../../src/contract/units.ts";

describe("tokens and units", () => {
  it("are read as in Python", () => {
    expect(readingPosition(5, 6)).toBe(5);
    expect(readingPosition(6, 6)).toBe(5);
    expect(parseUnit("component:2")).toEqual({ kind: "component", index: 2 });
    expect(parseUnit("neuron:117")).toEqual({ kind: "neuron", index: 117 });
    expect(parseUnit("neuron:-1")).toBeNull();
    expect(parseUnit("")).toBeNull();
  });
});
