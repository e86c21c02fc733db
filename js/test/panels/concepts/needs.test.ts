// What the concepts panel needs, of a state and the blocks that are there; nothing is mounted.

import { describe, expect, it } from "vitest";
import { type Key, SIDES } from "../../../src/contract/contract.ts";
import { failed, type Got, LOADING, type Load, ready } from "../../../src/core/load.ts";
import type { Changed } from "../../../src/core/options.ts";
import { Store } from "../../../src/core/store.ts";
import { surface } from "../../../src/draw/theme.ts";
import { tooltip } from "../../../src/draw/tooltip.ts";
import { conceptsPanel } from "../../../src/panels/concepts/panel.ts";
import type { Panel } from "../../../src/shell/frame.ts";
import { FakeModel, LAYERS, manifest, NEURONS, source, value } from "../../fixture.ts";

const trace = manifest();

/** The needs of a state, as `fail key`, `tell key` or `pass key`; `ask` says which blocks are there. */
function needsOf(selection: object, view: Changed[string] = {}, recorded = false) {
  const model = new FakeModel(trace, {
    _recorded: recorded,
    view: { concepts: view },
    ...selection,
  });
  const { signal } = new AbortController();
  const store = new Store(model, source(trace), signal);
  const root = document.createElement("div");
  const panel = conceptsPanel({
    ...{ store, signal, surface: surface(root, store, signal), tooltip: tooltip(root, signal) },
    refresh() {},
  }) as Panel;
  const ask = (has: (key: string) => boolean = () => false, broken = /^$/) => {
    const got: Got = <T>(key: Key<T>): Load<T> => {
      if (!has(key)) return LOADING;
      return broken.test(key) ? failed("gone") : ready(value(trace, key) as T);
    };
    return panel.needs(store, got).map(({ key, without }) => `${without} ${key}`);
  };
  return { store, ask, all: () => ask(() => true) };
}

const keysOf = (needs: string[], start: string) =>
  needs.map((need) => need.split(" ")[1]!).filter((key) => key.startsWith(start));

describe("needs of the concepts panel", () => {
  it("begin with the layer that is shown unless one is selected", () => {
    const { ask, all } = needsOf({});
    expect(ask()).toEqual(["fail components/change"]);
    const change = Array.from((value(trace, "components/change") as { data: Float32Array }).data);
    const upper = change.slice(LAYERS >> 1);
    const shown = (LAYERS >> 1) + upper.indexOf(Math.max(...upper));
    expect(all()).toEqual(["fail components/change", `fail components/${shown}`]);
    expect(needsOf({ layer: 0 }).ask()).toEqual(["fail components/0"]);
  });

  it("are what is active at the token, whose neurons a recording keeps for the answer", () => {
    const active = SIDES.map((side) => `tell activations/${side}/1/components`);
    const at = (token: number) => needsOf({ layer: 1, token }).ask();
    expect(at(7)).toEqual(["fail components/1", ...active, "tell neurons/1/7"]);
    expect(at(3)).toEqual(["fail components/1", ...active, "pass neurons/1/3"]);
  });

  it("are the words of a neuron, or of the ends of a component", () => {
    const apart = { ends: "apart" };
    expect(needsOf({ layer: 1 }, apart).ask()).toContain("pass components/1/ends");
    const neuron = needsOf({ layer: 1, unit: "neuron:7" }, apart).ask();
    expect(neuron).toEqual([
      "fail components/1",
      "fail neuron/1/7",
      "pass neuron/change/1/7/answer",
    ]);
  });

  it("compute no effect of a neuron unasked, and show one that is there", async () => {
    const { store, ask } = needsOf({ layer: 1, unit: "neuron:7" });
    const wanted = SIDES.map((side) => `neuron/ablation/${side}/1/7/answer`);
    expect(keysOf(ask(), "neuron/ablation")).toEqual([]);
    await store.block(wanted[0]!, store.signal);
    expect(keysOf(ask(), "neuron/ablation")).toEqual([]);
    await store.block(wanted[1]!, store.signal);
    expect(keysOf(ask(), "neuron/ablation")).toEqual(wanted);
  });

  it("follow the estimates to the neurons that a recording keeps", () => {
    const view = { tab: "neurons", order: "effect" };
    const { ask } = needsOf({ layer: 1, token: 7 }, view, true);
    const estimates = SIDES.map((side) => `neurons/effect/${side}/1`);
    expect(keysOf(ask(), "neurons/effect")).toEqual(estimates);
    expect(keysOf(ask(), "neuron/")).toEqual([]);
    const words = keysOf(
      ask((key) => key.startsWith("neurons/")),
      "neuron/",
    );
    expect(words).toHaveLength(NEURONS);
    // While one is on its way it is not clear which twelve are listed.
    const late = words.at(-1);
    expect(
      keysOf(
        ask((key) => key !== late),
        "activations/base/1/neuron",
      ),
    ).toEqual([]);
    const gone = words.slice(0, 6).join("|");
    const listed = keysOf(
      ask(() => true, new RegExp(`^(${gone})$`)),
      "activations/base/1/neuron",
    );
    // Those of which the words are there, less the two with an activation in the list of the layer.
    const wanted = words
      .slice(6)
      .map((key) => key.split("/")[2])
      .filter((neuron) => neuron !== "7" && neuron !== "9");
    expect(listed.map((key) => key.split("/")[4])).toEqual(wanted);
  });

  it("look a word up, or go through all listed words of a recording", () => {
    const view = { tab: "find", word: "dog" };
    const { ask, all } = needsOf({ layer: 1 }, view);
    // Without the answer the tab is empty and the panel says why, but is there.
    expect(ask()).toEqual(["fail components/1", "tell concepts/find/dog"]);
    expect(all()).toEqual(["fail components/1", "tell concepts/find/dog", "tell components/2"]);
    const layers = Array.from({ length: LAYERS }, (_, layer) => `pass components/${layer}`);
    expect(needsOf({ layer: 1 }, view, true).ask()).toEqual(["fail components/1", ...layers]);
    expect(needsOf({ layer: 1 }, { tab: "find" }).ask()).toEqual(["fail components/1"]);
  });
});
