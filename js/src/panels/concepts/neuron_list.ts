// Neurons by activity, change or effect; effects are estimates until they are measured.

import { keys, SIDES, type UpdateDirection } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import {
  chosenDirection,
  directionName,
  directionNeeds,
  servedNeurons,
} from "../../core/direction.ts";
import { type Got, type Need, optional, quiet, reasonOf } from "../../core/load.ts";
import type { NeuronOrder, NeuronScope } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { button, h, picker } from "../../draw/dom.ts";
import { count, number, ofBoth, quote } from "../../draw/format.ts";
import { meter } from "../../draw/meter.ts";
import { largest } from "../../maths/numbers.ts";
import type { PanelSetting } from "../../shell/frame.ts";
import type { Concepts, Sheet } from "./data.ts";
import {
  activationKeys,
  activationsOf,
  estimateKeys,
  estimateOf,
  exactKeys,
  exactOf,
  known,
  measure,
  type Neuron,
  type Target,
  targetOf,
  type Values,
} from "./neuron_effects.ts";
import { pickUnits } from "./unit_list.ts";

interface Row extends Neuron {
  activations: Values;
  estimate: Values | null;
  exact: Values | null;
}

/** Neurons listed by their effect, of those that are looked at. */
const LONGEST = 12;
const CANDIDATES = 200;

const ORDERS: { value: NeuronOrder; label: string }[] = [
  { value: "active", label: "most active" },
  { value: "changed", label: "most changed" },
  { value: "effect", label: "largest effect" },
];
const SCOPES: { value: NeuronScope; label: string }[] = [
  { value: "layer", label: "this layer" },
  { value: "all", label: "all layers" },
];

export function neuronList({ store, signal, refresh }: PanelSetting): Sheet {
  let rows: readonly Row[] = []; // as drawn, and what they are measured for
  let target = targetOf(store);
  let place = "";
  let measuring: AbortController | null = null;
  const orders = picker<NeuronOrder>("Order of the neurons", signal, (order) =>
    store.setOptions("concepts", { order }),
  );
  const scopes = picker<NeuronScope>("Layers of the neurons", signal, (scope) =>
    store.setOptions("concepts", { scope }),
  );
  const list = h("div", { class: "tl-neurons" });
  const show = pickUnits(list, store, signal);
  const status = h("span", { class: "tl-quiet", role: "status" });
  const start = button("measure exactly", () => void measureAll(), signal, {
    title: "set each listed neuron to zero in both models",
  });
  const stop = button("Stop", () => measuring?.abort(), signal);
  signal.addEventListener("abort", () => measuring?.abort());

  const offer = () => {
    start.hidden = !store.live || measuring !== null || rows.every((row) => row.exact);
    stop.hidden = measuring === null;
  };
  const measureAll = async () => {
    const mine = new AbortController();
    measuring = mine;
    offer();
    const todo = rows.filter((row) => !row.exact);
    try {
      for (const [done, row] of todo.entries()) {
        status.textContent = `measuring: ${done} of ${todo.length}`;
        await measure(store, target, row, mine.signal);
        mine.signal.throwIfAborted();
        refresh();
      }
      status.textContent = "";
    } catch (error) {
      if (measuring === mine) status.textContent = mine.signal.aborted ? "" : reasonOf(error);
    } finally {
      if (measuring === mine) {
        measuring = null;
        offer();
      }
    }
  };

  const controls = [orders.el, scopes.el, start, stop, status];
  return {
    el: h(
      "div",
      {},
      h("div", { class: "tl-flow tl-controls tl-sheet-controls" }, ...controls),
      list,
    ),
    layered: true,
    needs,
    picture(state, got, concepts) {
      const { layer, unit } = concepts;
      const { scope, order } = state.options.concepts;
      const listing = listingOf(state, got, layer);
      const effectOn = targetOf(state);
      const loaded = rowsOf(state, got, listing, effectOn);
      const direction = chosenDirection(state, got);
      return {
        title: scope === "all" ? "Neurons of all layers" : `Neurons of layer ${layer}`,
        caption: captionOf(state, loaded, effectOn) + servedText(loaded, direction),
        draw() {
          const now = `${layer} ${effectOn.key} ${scope} ${order}`;
          if (now !== place) {
            measuring?.abort();
            measuring = null;
            status.textContent = "";
          }
          place = now;
          rows = loaded;
          target = effectOn;
          orders.update(ORDERS, listing.order);
          scopes.update(SCOPES, scope);
          offer();
          // Measuring moves nothing: where it can be done, its column is kept free.
          const measurable = store.live || rows.some((row) => row.exact);
          const columns = rows.some((row) => row.estimate) || measurable ? 2 : 1;
          list.style.setProperty("--tl-columns", String(columns + (measurable ? 1 : 0)));
          show(layer, unit, ...table(loaded, concepts, scope, direction));
        },
      };
    },
  };
}

function needs(state: State, got: Got, layer: number): Need[] {
  const target = targetOf(state);
  const { candidates, neurons } = listingOf(state, got, layer);
  return [
    ...directionNeeds(state),
    // Recordings keep some places only.
    ...(state.live ? optional : quiet)(listKey(state, layer)),
    ...quiet(...estimateKeys(target), ...candidates.map(wordsKey)),
    ...neurons.flatMap((neuron) => [
      ...quiet(...(neuron.activations ? [] : activationKeys(neuron))),
      ...known(state, exactKeys(target, neuron)),
    ]),
  ];
}

function listKey({ selection: { token }, options }: State, layer: number) {
  return keys.neurons(
    options.concepts.scope === "all" ? "all" : layer,
    token < 0 ? "answer" : token,
  );
}

const wordsKey = ({ layer, neuron }: Neuron) => keys.neuronWords(layer, neuron);

interface Listing {
  /** As it can be had: by effect where no list is kept. */
  order: NeuronOrder;
  /** Neurons of which only those are listed whose words are there: a recording keeps some. */
  candidates: readonly Neuron[];
  /** With their activations where the list has them; none while it is not clear which. */
  neurons: readonly (Neuron & { activations?: Values })[];
}

function listingOf(state: State, got: Got, layer: number): Listing {
  const { order, scope } = state.options.concepts;
  const list = got(listKey(state, layer));
  const listed = (list.value ?? []).map(({ layer: of = layer, neuron, base, tuned }) => ({
    ...{ layer: of, neuron },
    activations: { base: base ?? undefined, tuned: tuned ?? undefined },
  }));
  if (order !== "effect" && list.state !== "failed") {
    return { order, candidates: [], neurons: listed };
  }
  const tensors = estimateKeys(targetOf(state)).map((key) => got(key).value);
  const places = strongest(tensors, scope === "all" ? null : layer);
  const loads = state.live ? [] : places.map((neuron) => got(wordsKey(neuron)).state);
  const unclear = [list.state, ...loads].includes("loading");
  const shown = unclear ? [] : places.filter((_, i) => loads[i] !== "failed");
  return {
    order: "effect",
    candidates: state.live ? [] : places,
    neurons: shown
      .slice(0, LONGEST)
      .map((place) => listed.find((neuron) => isSame(neuron, place)) ?? place),
  };
}

const isSame = (a: Neuron, b: Neuron) => a.layer === b.layer && a.neuron === b.neuron;

function rowsOf(state: State, got: Got, { order, neurons }: Listing, target: Target): Row[] {
  const rows = neurons.map((neuron) => ({
    ...neuron,
    activations: neuron.activations ?? activationsOf(state, got, neuron),
    estimate: estimateOf(got, target, neuron),
    exact: exactOf(got, target, neuron),
  }));
  if (order === "effect") return rows;
  const size = order === "active" ? activity : change;
  return rows.sort((a, b) => size(b.activations) - size(a.activations));
}

function activity(values: Values): number {
  return largest(SIDES.map((side) => values[side] ?? 0));
}

function change({ base, tuned }: Values): number {
  return Math.abs((tuned ?? 0) - (base ?? 0));
}

/** By estimates and layer: what is needed is asked often, and all neurons are many. */
const rankings = new WeakMap<Tensor, Map<number | null, Neuron[]>>();

/** Neurons of one layer, or of all, with the largest estimated effect in either model. */
function strongest(estimates: (Tensor | undefined)[], layer: number | null): Neuron[] {
  const tensors = estimates.flatMap((tensor) => tensor ?? []);
  const [first] = tensors;
  if (!first || tensors.length < estimates.length) return [];
  const ranking = rankings.get(first) ?? new Map<number | null, Neuron[]>();
  rankings.set(first, ranking);
  const ranked = ranking.get(layer);
  if (ranked) return ranked;
  const width = first.shape[1]!;
  const from = layer === null ? 0 : layer * width;
  const to = layer === null ? first.data.length : from + width;
  const size = (i: number) => Math.max(...tensors.map(({ data }) => Math.abs(data[i]!)));
  const neurons = Array.from({ length: to - from }, (_, i) => ({
    at: from + i,
    size: size(from + i),
  }))
    .sort((a, b) => b.size - a.size)
    .slice(0, CANDIDATES)
    .map(({ at }) => ({ layer: Math.floor(at / width), neuron: at % width }));
  ranking.set(layer, neurons);
  return neurons;
}

function captionOf(state: State, rows: readonly Row[], target: Target): string {
  const { token } = state.selection;
  if (rows.length === 0) return "The neurons at this place are not recorded here.";
  const where = token < 0 ? "mean magnitude over the answer" : `at ${quote(state.text(token))}`;
  const effect = rows.some((row) => row.estimate)
    ? ` Effect on the log-probability of ${target.name}: hatched is the first-order estimate, solid what is measured with the neuron at zero.`
    : "";
  return `Activation ${where}, base above tuned.${effect}`;
}

/** Whether the chosen direction of the update goes through a neuron. */
function isServed({ layer, neuron }: Neuron, direction: UpdateDirection | null): boolean {
  return direction?.layer === layer && servedNeurons(direction).includes(neuron);
}

function servedText(rows: readonly Row[], direction: UpdateDirection | null): string {
  if (!direction || !rows.some((row) => isServed(row, direction))) return "";
  return ` Underlined: what direction ${directionName(direction)} of the update goes through.`;
}

function table(
  rows: readonly Row[],
  concepts: Concepts,
  scope: NeuronScope,
  direction: UpdateDirection | null,
): HTMLElement[] {
  const active = largest(...rows.map((row) => SIDES.map((side) => row.activations[side] ?? 0)));
  const effect = largest(
    ...rows.flatMap((row) =>
      [row.estimate, row.exact].map((effects) => SIDES.map((side) => effects?.[side] ?? 0)),
    ),
  );
  const measured = rows.filter((row) => row.exact).length;
  const heads = [
    count(rows.length, "neuron"),
    active > 0 ? `activation up to ${number(active)}` : "activation not recorded",
    effect > 0 ? `estimate, up to ${number(effect)} nats` : "",
    measured ? "measured, same scale" : "",
  ];
  if (rows.length === 0) return [];
  return [
    h("div", { class: "tl-neuron-head tl-aside" }, ...heads.map((text) => h("span", {}, text))),
    ...rows.map((row) => {
      const name =
        scope === "all" ? `layer ${row.layer}, neuron ${row.neuron}` : `neuron ${row.neuron}`;
      const unit = `neuron:${row.neuron}`;
      const shown = unit === concepts.unit && row.layer === concepts.layer;
      const label = [
        name,
        `activation ${ofBoth(row.activations)}`,
        row.estimate && `estimated effect ${ofBoth(row.estimate)} nats`,
        row.exact && `measured effect ${ofBoth(row.exact)} nats`,
      ];
      const text = label.filter(Boolean).join("; ");
      return h(
        "button",
        {
          type: "button",
          class: "tl-unit tl-neuron",
          "data-unit": unit,
          "data-layer": row.layer,
          "data-shown": shown,
          "data-served": isServed(row, direction),
          "aria-pressed": String(shown && concepts.chosen),
          "aria-label": text,
          title: text,
        },
        h("span", { class: "tl-unit-name" }, name),
        meter(row.activations, active),
        row.estimate ? meter(row.estimate, effect, "hatched") : h("span", {}),
        row.exact ? meter(row.exact, effect) : h("span", {}),
      );
    }),
  ];
}
