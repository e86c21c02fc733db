import { describe, expect, it } from "vitest";
import { change, SELECTION_DEFAULTS, selectionText, stepBack } from "../../src/core/selection.ts";

const full = { token: 7, layer: 2, head: 3, unit: "component:1" };

describe("selection", () => {
  it("clears head and unit when the layer changes", () => {
    expect(change(full, { layer: 1 })).toEqual({ token: 7, layer: 1, head: -1, unit: "" });
    expect(change(full, { layer: 1, head: 0 })).toEqual({ token: 7, layer: 1, head: 0, unit: "" });
    expect(change(full, { layer: 1, unit: "neuron:4" }).head).toBe(-1);
  });

  it("keeps head and unit in the same layer", () => {
    expect(change(full, { layer: 2, head: 0 }).unit).toBe("component:1");
    expect(change(full, { token: 1 })).toEqual({ ...full, token: 1 });
  });

  it("has neither without a layer", () => {
    expect(change(SELECTION_DEFAULTS, { head: 3, unit: "neuron:1" })).toEqual(SELECTION_DEFAULTS);
  });

  it("steps back from unit to head to layer to token", () => {
    let now = full;
    const seen: string[] = [];
    for (let i = 0; i < 5; i++) {
      now = change(now, stepBack(now));
      seen.push(selectionText(now));
    }
    expect(seen).toEqual(["7/2/3/", "7/2/-1/", "7/-1/-1/", "-1/-1/-1/", "-1/-1/-1/"]);
  });
});
