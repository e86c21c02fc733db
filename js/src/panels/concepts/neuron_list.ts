// Neurons by activity, change or effect; effects are estimates until they are measured.

import { type BySide, keys, SIDES } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { reasonOf } from "../../core/load.ts";
import type { Store } from "../../core/store.ts";
import { button, h, picker } from "../../draw/dom.ts";
import { count, number, quote } from "../../draw/format.ts";
import { meter } from "../../draw/meter.ts";
import { largest } from "../../maths/numbers.ts";
import type { View } from "../../shell/frame.ts";
import type { Concepts } from "./data.ts";
import {
  activationsOf,
  type Effect,
  effectOf,
  isMeasured,
  loadEstimates,
  measure,
  type Target,
  targetOf,
} from "./neuron_effects.ts";
import type { Sheet } from "./sheet.ts";
import { pickUnits } from "./unit_list.ts";

type Order = "active" | "changed" | "effect";
type Scope = "layer" | "all";

interface Row {
  layer: number;
  neuron: number;
  activations: BySide<number | undefined>;
  estimate: Effect | null;
  exact: Effect | null;
}

type Place = readonly [layer: number, neuron: number];

/** Neurons listed by their effect, of those that are looked at. */
const LONGEST = 12;
const CANDIDATES = 200;

const ORDERS: { value: Order; label: string }[] = [
  { value: "active", label: "most active" },
  { value: "changed", label: "most changed" },
  { value: "effect", label: "largest effect" },
];
const SCOPES: { value: Scope; label: string }[] = [
  { value: "layer", label: "this layer" },
  { value: "all", label: "all layers" },
];

export function neuronList(store: Store, refresh: () => void, signal: AbortSignal): Sheet {
  let order: Order = "active";
  let scope: Scope = "layer";
  let draw = () => {};
  let wanted = ""; // selection and target that measuring is for
  let measuring: AbortController | null = null;
  const orders = picker<Order>(
    "Order of the neurons",
    (value) => {
      order = value;
      refresh();
    },
    signal,
  );
  const scopes = picker<Scope>(
    "Layers of the neurons",
    (value) => {
      scope = value;
      refresh();
    },
    signal,
  );
  const list = h("div", { class: "tl-neurons" });
  const show = pickUnits(list, store, signal);
  const status = h("span", { class: "tl-status", role: "status" });
  let rows: Row[] = [];
  let target = targetOf(store);
  const start = button("measure exactly", () => void measureAll(), signal, {
    title: "set each listed neuron to zero in both models",
  });
  const stop = button("Stop", () => measuring?.abort(), signal);
  signal.addEventListener("abort", () => measuring?.abort());

  const measureAll = async () => {
    measuring?.abort();
    const mine = new AbortController();
    measuring = mine;
    const todo = rows.filter((row) => !row.exact);
    try {
      for (const [done, row] of todo.entries()) {
        status.textContent = `measuring: ${done} of ${todo.length}`;
        draw();
        row.exact = await measure(store, row.layer, row.neuron, target, mine.signal);
        if (mine.signal.aborted) return;
      }
      status.textContent = "";
    } catch (error) {
      if (mine.signal.aborted) status.textContent = "";
      else status.textContent = reasonOf(error);
    } finally {
      if (measuring === mine) {
        measuring = null;
        draw();
      }
    }
  };

  const el = h(
    "div",
    {},
    h("div", { class: "tl-controls tl-sheet-controls" }, orders.el, scopes.el, start, stop, status),
    list,
  );
  return {
    el,
    layered: true,
    async load(view, concepts) {
      const loaded = await loadRows(view, concepts, order, scope);
      return {
        title: scope === "all" ? "Neurons of all layers" : `Neurons of layer ${concepts.layer}`,
        caption: captionOf(store, loaded),
        draw() {
          const now = `${concepts.layer} ${loaded.target.key} ${scope} ${order}`;
          if (now !== wanted) {
            measuring?.abort();
            measuring = null;
            status.textContent = "";
          }
          wanted = now;
          // What is being measured goes on in its own rows.
          if (!measuring) ({ rows, target } = loaded);
          orders.update(ORDERS, loaded.order);
          scopes.update(SCOPES, scope);
          draw = () => {
            start.hidden = !store.live || measuring !== null || rows.every((row) => row.exact);
            stop.hidden = measuring === null;
            // Measuring moves nothing: where it can be done, its column is kept free.
            const measurable = store.live || rows.some((row) => row.exact);
            const columns = rows.some((row) => row.estimate) || measurable ? 2 : 1;
            list.style.setProperty("--tl-columns", String(columns + (measurable ? 1 : 0)));
            show(concepts.layer, concepts.unit, ...table(rows, concepts, scope));
          };
          draw();
        },
      };
    },
  };
}

async function loadRows(
  view: View,
  { layer }: Concepts,
  order: Order,
  scope: Scope,
): Promise<{ rows: Row[]; target: Target; order: Order }> {
  const { store } = view;
  const { token } = store.selection;
  const target = targetOf(store);
  const key = keys.neurons(scope === "all" ? "all" : layer, token < 0 ? "answer" : token);
  const [listed, estimates] = await Promise.all([
    // Recordings keep some places only.
    view.optional(view.block(key), !store.live),
    loadEstimates(view, target),
  ]);
  if (!listed) order = "effect";
  const activities = new Map(
    (listed ?? []).map((one) => [`${one.layer ?? layer}/${one.neuron}`, one]),
  );
  const places =
    order === "effect"
      ? await shownOnes(view, strongest(estimates, scope === "all" ? null : layer))
      : [...activities.values()].map((one) => [one.layer ?? layer, one.neuron] as const);
  const rows = await Promise.all(
    places.map(async ([of, neuron]): Promise<Row> => {
      const active = activities.get(`${of}/${neuron}`);
      return {
        layer: of,
        neuron,
        activations: active
          ? { base: active.base ?? undefined, tuned: active.tuned ?? undefined }
          : await activationsOf(view, of, neuron),
        estimate: effectOf(estimates, of, neuron),
        exact: isMeasured(store, of, neuron, target)
          ? await measure(store, of, neuron, target, view.signal)
          : null,
      };
    }),
  );
  if (order !== "effect") {
    const size = order === "active" ? activity : change;
    rows.sort((a, b) => size(b.activations) - size(a.activations));
  }
  return { rows, target, order };
}

function activity(values: BySide<number | undefined>): number {
  return largest(SIDES.map((side) => values[side] ?? 0));
}

function change({ base, tuned }: BySide<number | undefined>): number {
  return Math.abs((tuned ?? 0) - (base ?? 0));
}

/** The first places whose neurons can be shown: a recording keeps the words of some only. */
async function shownOnes(view: View, places: Place[]): Promise<Place[]> {
  if (view.store.live) return places.slice(0, LONGEST);
  const kept = await Promise.all(
    places.map(([layer, neuron]) =>
      view.optional(view.block(keys.neuronWords(layer, neuron)), true),
    ),
  );
  return places.filter((_, i) => kept[i] !== null).slice(0, LONGEST);
}

/** Places with the largest estimated effect in either model. */
function strongest(estimates: BySide<Tensor | null> | null, layer: number | null): Place[] {
  const tensors = SIDES.flatMap((side) => estimates?.[side] ?? []);
  const [first] = tensors;
  if (!first) return [];
  const width = first.shape[1]!;
  const from = layer === null ? 0 : layer * width;
  const to = layer === null ? first.data.length : from + width;
  const size = (i: number) => Math.max(...tensors.map(({ data }) => Math.abs(data[i]!)));
  return Array.from({ length: to - from }, (_, i) => ({ at: from + i, size: size(from + i) }))
    .sort((a, b) => b.size - a.size)
    .slice(0, CANDIDATES)
    .map(({ at }) => [Math.floor(at / width), at % width] as const);
}

function captionOf(store: Store, { rows, target }: { rows: Row[]; target: Target }): string {
  const { token } = store.selection;
  if (rows.length === 0) return "The neurons at this place are not recorded here.";
  const where = token < 0 ? "mean magnitude over the answer" : `at ${quote(store.text(token))}`;
  const effect = rows.some((row) => row.estimate)
    ? ` Effect on the log-probability of ${target.name}: hatched is the first-order estimate, solid what is measured with the neuron at zero.`
    : "";
  return `Activation ${where}, base above tuned.${effect}`;
}

function table(rows: Row[], concepts: Concepts, scope: Scope): HTMLElement[] {
  const active = largest(...rows.map((row) => SIDES.map((side) => row.activations[side] ?? 0)));
  const effect = largest(
    ...rows.flatMap((row) =>
      [row.estimate, row.exact].map((one) => SIDES.map((side) => one?.[side] ?? 0)),
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
    h("div", { class: "tl-neuron-head" }, ...heads.map((text) => h("span", {}, text))),
    ...rows.map((row) => {
      const name =
        scope === "all" ? `layer ${row.layer}, neuron ${row.neuron}` : `neuron ${row.neuron}`;
      const unit = `neuron:${row.neuron}`;
      const shown = unit === concepts.unit && row.layer === concepts.layer;
      const label = [
        name,
        `activation ${said(row.activations)}`,
        row.estimate && `estimated effect ${said(row.estimate)} nats`,
        row.exact && `measured effect ${said(row.exact)} nats`,
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

function said(values: BySide<number | undefined>): string {
  return SIDES.map((side) => `${side} ${number(values[side] ?? Number.NaN)}`).join(", ");
}
