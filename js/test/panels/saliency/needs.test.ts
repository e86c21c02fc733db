// @vitest-environment node
import { describe, expect, it } from "vitest";
import type { Manifest } from "../../../src/contract/contract.ts";
import type { Tensor } from "../../../src/contract/decode.ts";
import { failed, type Got, LOADING, type Load, ready } from "../../../src/core/load.ts";
import { Store } from "../../../src/core/store.ts";
import { factNeeds } from "../../../src/panels/saliency/facts.ts";
import { shownRun } from "../../../src/panels/saliency/table.ts";
import { FakeModel, manifest, source, value } from "../../fixture.ts";

const SIDES = ["base", "tuned"] as const;

function withStandIn(): Manifest {
  const made = manifest();
  const knockout = { ...made.methods[0]!, name: "attention_knockout", title: "Knock-out" };
  return { ...made, methods: [...made.methods, knockout] };
}

/** What is needed of saliency or, with another start, of other blocks: keys by what happens without. */
function needed(
  state: Record<string, unknown>,
  loads: Record<string, Load<unknown>> = {},
  { made = manifest(), recorded = false, start = "saliency/" } = {},
) {
  const from = { ...source(made), has: () => recorded };
  const store = new Store(new FakeModel(made, state), from, new AbortController().signal);
  const got: Got = <T>(key: string) => (loads[key] ?? LOADING) as Load<T>;
  const needs = factNeeds(store, shownRun(store), got);
  return needs.flatMap(({ key, without }) => (key.startsWith(start) ? [`${without} ${key}`] : []));
}

describe("the saliency panel needs", () => {
  it("the columns of one answer token, unless the tables are there", () => {
    const columns = SIDES.map((side) => `fail saliency/${side}/gradient/1`);
    const tables = SIDES.map((side) => `fail saliency/${side}/gradient`);
    expect(needed({ token: 7 })).toEqual(columns);
    expect(needed({ token: 7 }, {}, { recorded: true })).toEqual(tables);
    expect(needed({ token: 3 })).toEqual(tables);
    expect(needed({})).toEqual(tables);
  });

  it("no column of an answer that is shorter", () => {
    const made = manifest({ shared: false });
    expect(needed({ token: 8 }, {}, { made })).toEqual(["fail saliency/base/gradient/2"]);
  });

  it("what of an exact table is measured, then an estimate of the rest", () => {
    const made = withStandIn();
    const soFar = SIDES.map((side) => `saliency/${side}/occlusion/so_far`);
    const asked = soFar.map((key) => `pass ${key}`);
    const there = (change: (table: Tensor) => Tensor) =>
      Object.fromEntries(
        SIDES.map((side, i) => [
          soFar[i],
          ready(change(value(made, `saliency/${side}/occlusion`) as Tensor)),
        ]),
      );
    const part = there(({ shape, data }) => ({ shape, data: data.map((x, i) => (i ? x : NaN)) }));
    const exact = { method: "occlusion" };
    expect(needed(exact, {}, { made })).toEqual(asked);
    expect(needed(exact, part, { made })).toEqual([
      ...asked,
      ...SIDES.map((side) => `tell saliency/${side}/attention_knockout`),
    ]);
    expect(needed(exact, part)).toEqual(asked); // nothing stands in
    const whole = there((table) => table);
    expect(needed(exact, whole, { made })).toEqual(asked);
  });

  it("the exact table of a recording", () => {
    const tables = SIDES.map((side) => `fail saliency/${side}/occlusion`);
    expect(needed({ method: "occlusion" }, {}, { recorded: true })).toEqual(tables);
    const silent = { "saliency/tuned/occlusion/so_far": failed("not recorded") };
    expect(needed({ method: "occlusion" }, silent)).toEqual(tables);
  });

  it("attention of the selected head, and activations of the selected unit", () => {
    const state = { token: 7, layer: 1, head: 2, unit: "component:3" };
    expect(needed(state, {}, { start: "attention/" })).toEqual([
      "tell attention/base/1/2",
      "tell attention/tuned/1/2",
    ]);
    expect(needed(state, {}, { start: "activations/" })).toEqual([
      "tell activations/base/1/components",
      "tell activations/tuned/1/components",
      "pass activations/tuned/1/base_components",
    ]);
    expect(needed({ layer: 1, unit: "neuron:5" }, {}, { start: "activations/" })).toEqual([
      "tell activations/base/1/neuron/5",
      "tell activations/tuned/1/neuron/5",
    ]);
  });

  it("groups where they have one effect, and disagreement over one answer", () => {
    const made = manifest();
    made.methods = made.methods.map((method) => ({ ...method, unit: "word" }));
    expect(needed({}, {}, { made, start: "groups" })).toEqual(["pass groups/word"]);
    expect(needed({}, {}, { start: "groups" })).toEqual([]);
    expect(needed({}, {}, { start: "disagreement" })).toEqual(["pass disagreement"]);
    const apart = manifest({ shared: false });
    expect(needed({}, {}, { made: apart, start: "disagreement" })).toEqual([]);
  });
});
