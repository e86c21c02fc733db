// @vitest-environment node
import { describe, expect, it } from "vitest";
import { grows, keys } from "../../src/contract/contract.ts";

describe("keys", () => {
  it("are spelled as on the wire", () => {
    expect(keys.attention("base", 3, 5)).toBe("attention/base/3/5");
    expect(keys.headEffect("tuned", "answer")).toBe("heads/effect/tuned/answer");
    expect(keys.neurons("all", 4)).toBe("neurons/all/4");
  });

  it("say whether their value is no answer for good", () => {
    expect(grows(keys.saliencySoFar("base", "occlusion"))).toBe(true);
    expect(grows(keys.faithfulness("base", "occlusion"))).toBe(true);
    expect(grows(keys.saliency("base", "occlusion"))).toBe(false);
    expect(grows(keys.conceptFind("so_far"))).toBe(false);
  });
});
