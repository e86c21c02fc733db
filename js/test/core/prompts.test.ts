import { describe, expect, it } from "vitest";
import { keys, type Manifest } from "../../src/contract/contract.ts";
import { lacksPrompt, onlyReader, ownTemplates } from "../../src/core/state.ts";

const manifest = (parameters: Record<string, unknown>) => ({ parameters }) as unknown as Manifest;
const own = manifest({ template: "own", read_by_one: { base: [1], tuned: [2, 5] } });
const shared = manifest({ template: true });

describe("prompts in two chat templates", () => {
  it("say which model reads a token alone", () => {
    expect([0, 1, 2, 5].map((at) => onlyReader(own, at))).toEqual([
      undefined,
      "base",
      "tuned",
      "tuned",
    ]);
    expect(onlyReader(shared, 1)).toBeUndefined();
    expect([own, shared].map(ownTemplates)).toEqual([true, false]);
  });

  it("lack what takes one prompt", () => {
    for (const key of [keys.null(), keys.update(), keys.neurons(0, 3), keys.unitEffects(0, 3)]) {
      expect(lacksPrompt(own, key)).toMatch(/takes one prompt that both read/);
      expect(lacksPrompt(shared, key)).toBe("");
    }
    for (const key of [
      keys.shiftResidual(),
      keys.neuronEffect("base", "answer"),
      keys.logprob("base"),
    ])
      expect(lacksPrompt(own, key)).toBe("");
  });
});
