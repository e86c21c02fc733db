// @vitest-environment node
import { describe, expect, it } from "vitest";
import { keys } from "../../../src/contract/contract.ts";
import type { Value } from "../../../src/contract/decode.ts";
import { failed, type Got, LOADING, type Need, ready } from "../../../src/core/load.ts";
import type { HeadsOptions } from "../../../src/core/options.ts";
import { Store } from "../../../src/core/store.ts";
import { mostChanged, numbersNeeds, numbersOf, shownHead } from "../../../src/panels/heads/data.ts";
import { ExactEffects, noEffects } from "../../../src/panels/heads/effects_data.ts";
import { headsWith, searchNeeds } from "../../../src/panels/heads/pairs_data.ts";
import { FakeModel, HEADS, LAYERS, manifest, source, tensor, value } from "../../fixture.ts";

const made = manifest();

function stateWith(
  selection: Record<string, unknown>,
  heads: Partial<HeadsOptions> = {},
  recorded: string[] = [],
) {
  const from = { ...source(made), has: (key: string) => recorded.includes(key) };
  return new Store(
    new FakeModel(made, { ...selection, view: { heads } }),
    from,
    new AbortController().signal,
  );
}

/** Blocks that have come, and those that failed, by a word of their key. */
function gotOf(blocks: Record<string, Value>, broken = ""): Got {
  return ((key: string) => {
    if (key in blocks) return ready(blocks[key]);
    return broken && key.includes(broken) ? failed(`no ${key}`) : LOADING;
  }) as Got;
}

const nothing = gotOf({});
const names = (needs: Need[]) => needs.map(({ key, without }) => `${without} ${key}`);

describe("the numbers of heads need", () => {
  it("what the measure shows, all at once", () => {
    const needs = (heads: Partial<HeadsOptions>) =>
      names(numbersNeeds(stateWith({ token: 7 }, heads), nothing, new ExactEffects()));
    const instruction = ["fail heads/instruction/base", "fail heads/instruction/tuned"];
    expect(needs({})).toEqual(instruction);
    expect(needs({ average: true })).toEqual(instruction);
    expect(needs({ average: true, measure: "change" })).toEqual(["fail heads/change"]);
    expect(needs({ average: true, measure: "effect" })).toEqual([
      "pass heads/effect/base/answer",
      "pass heads/effect/tuned/answer",
      "pass heads/ablation/base/zero/answer",
      "pass heads/ablation/tuned/zero/answer",
    ]);
  });

  it("no effects of a model whose answer has no such token", () => {
    const view = { heads: { measure: "effect" } };
    const own = manifest({ shared: false });
    const model = new FakeModel(own, { token: 8, _recorded: false, view });
    const state = new Store(model, source(own), new AbortController().signal);
    expect(names(numbersNeeds(state, nothing, new ExactEffects()))).toEqual([
      "pass heads/effect/base/2",
      "pass heads/ablation/base/zero/2/so_far",
    ]);
  });

  it("those of the next best where the wanted measure fails, and say why", () => {
    const unit = { token: 7, layer: 1, unit: "component:2" };
    const state = stateWith({ ...unit, _recorded: false });
    const exact = new ExactEffects();
    expect(names(numbersNeeds(stateWith(unit), nothing, exact))).toEqual([
      "fail heads/instruction/base",
      "fail heads/instruction/tuned",
    ]);
    expect(names(numbersNeeds(state, nothing, exact))).toEqual([
      "pass heads/write/base/1/component:2",
      "pass heads/write/tuned/1/component:2",
    ]);
    const next = keys.headInstruction("base");
    const other = keys.headInstruction("tuned");
    const got = gotOf({ [next]: value(made, next), [other]: value(made, other) }, "heads/write");
    expect(names(numbersNeeds(state, got, exact))).toEqual([`fail ${next}`, `fail ${other}`]);
    const { measure, instead } = numbersOf(state, got, exact);
    expect(measure).toBe("instruction");
    expect(instead).toContain("no heads/write/base/1/component:2");
  });

  it("nothing more for exact effects once a head is measured", () => {
    const state = stateWith({ token: 7 }, { measure: "exact" });
    const exact = new ExactEffects();
    const got = gotOf({}, "ablation");
    expect(names(numbersNeeds(state, got, exact))[0]).toBe("fail heads/instruction/base");
    exact.add(keys.headAblation("tuned", "zero", 1), noEffects(state).fill(0.5, 3, 4));
    expect(names(numbersNeeds(state, got, exact))).toEqual([
      "pass heads/ablation/base/zero/1",
      "pass heads/ablation/tuned/zero/1",
    ]);
    expect(numbersOf(state, got, exact).values.tuned[3]).toBe(0.5);
  });
});

describe("the shown head", () => {
  const block = { [keys.headChange()]: tensor("heads/change", 8, LAYERS, HEADS) };

  it("is known with the changes: the selected one, or the most changed of the layer", () => {
    expect(shownHead(stateWith({ layer: 2, head: 1 }), nothing)).toBeUndefined();
    const selected = shownHead(stateWith({ layer: 2, head: 1 }), gotOf(block));
    expect(selected).toMatchObject({ layer: 2, head: 1, chosen: true });
    const most = shownHead(stateWith({ layer: 2 }), gotOf(block))!;
    expect(most).toMatchObject({ layer: 2, chosen: false });
    expect(most.change).toBeGreaterThanOrEqual(selected!.change);
  });

  it("is in a layer that has heads", () => {
    const change = new Float64Array([Number.NaN, Number.NaN, 1, 3, Number.NaN, Number.NaN]);
    expect([-1, 0, 1, 2].map((layer) => mostChanged(change, 2, layer))).toEqual([3, 3, 3, 3]);
  });
});

describe("a search for a word", () => {
  it("reads the recorded pairs where it is not recorded itself", () => {
    const recorded = [keys.wordPairs(0, 1), keys.wordPairs(2, 3)] as string[];
    const state = stateWith({}, {}, recorded);
    const search = "pass word_pairs/find/dog";
    expect(names(searchNeeds(state, nothing, "dog"))).toEqual([search]);
    const rows = (base: number, tuned: number) => ({
      rows: [["dog", "cat", base, tuned]],
      left_out: 0,
    });
    const pairs = { "word_pairs/0/1": rows(3, 0), "word_pairs/2/3": rows(0, 2) };
    const got = gotOf(pairs as unknown as Record<string, Value>, "find");
    expect(names(searchNeeds(state, got, "dog"))).toEqual([
      search,
      ...recorded.map((key) => `pass ${key}`),
    ]);
    expect(headsWith(state, got, "dog").value).toEqual([
      [2, 3, 0, 1],
      [0, 1, 1, 0],
    ]);
    expect(headsWith(stateWith({}), got, "dog").reason).toBe("no word_pairs/find/dog");
  });
});
