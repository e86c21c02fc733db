// What goes with each part of a model alone: of every layer its output and its two blocks, of the
// selected layer its heads and neurons; at every position or at one, either way.

import { type Key, keys, type NeuronExchanged, type Side } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { parseUnit } from "../../contract/units.ts";
import { type Got, type Need, optional, quiet, required } from "../../core/load.ts";
import type { Selection } from "../../core/selection.ts";
import type { State } from "../../core/state.ts";
import { NOT_SAVED } from "../../core/state.ts";
import { button, fill, h, picker } from "../../draw/dom.ts";
import { number, percent, quote } from "../../draw/format.ts";
import { choosable, isPressed, reachable } from "../../draw/roving.ts";
import { tips } from "../../draw/tooltip.ts";
import type { Setting } from "../../shell/frame.ts";
import { asking, bar, missing, targetOf, type View, waits } from "./view.ts";

const TITLE = "What goes with each part";
const COLUMNS = ["output", "attention", "feed-forward"] as const;

/** Neurons of a layer that are listed, those with which most goes. */
const NEURONS = 6;

/** A number in nats of the shift, and the share of KL that is gone. */
type Gone = readonly [nats: number, share: number];

interface Row {
  name: string;
  layer: number;
  /** -1 but for a head. */
  head: number;
  /** Empty but for a neuron. */
  unit?: string;
  cells: readonly Gone[];
}

type Place = number | "everywhere";

export function eachView({ store, tooltip, signal }: Setting): View {
  const el = h("div", { class: "tl-each" });
  let drawn: Row[] = [];

  const choose = (row: HTMLElement, toggle: boolean) => {
    const { layer, head, unit } = drawn[Number(row.dataset.row)]!;
    const { selection } = store;
    if (unit) {
      store.select({ unit: toggle && selection.unit === unit ? "" : unit });
      return;
    }
    const again = toggle && selection.layer === layer && selection.head === head;
    if (!again) store.select({ layer, head });
    else store.select(head < 0 ? { layer: -1 } : { head: -1 });
  };
  const buttons = choosable(el, "button[data-row]", signal, choose);
  tips(el, tooltip, signal, (target) => {
    const row = drawn[Number(target.closest<HTMLElement>("[data-row]")?.dataset.row)];
    return row ? { title: row.name, lines: row.cells.map((cell, i) => said(row, cell, i)) } : null;
  });

  const directions = picker<Side>("From which model into which", signal, (into) =>
    store.setOptions("carried", { into }),
  );
  const places = picker<"here" | "everywhere">("Where parts are exchanged", signal, (place) =>
    store.setOptions("carried", { everywhere: place === "everywhere" }),
  );
  const measure = asking(store, signal);
  const search = button(
    "",
    () => store.setOptions("carried", { neuronsOf: store.selection.layer }),
    signal,
    { hidden: true },
  );

  return {
    name: "each",
    label: "each part alone",
    el,
    controls: [directions.el, places.el, measure, search],
    table: () => [
      ["part", "of_layer", "nats", "share_of_kl"],
      ...drawn.flatMap(({ name, cells }) =>
        cells.map((cell, i) => [name, cells.length > 1 ? COLUMNS[i]! : "", ...cell]),
      ),
    ],
    needs,
    picture(state, got) {
      const { into } = state.options.carried;
      const { layer, token } = state.selection;
      const key = keyOf(state);
      const known = key && shownOf(state, got, key);
      const groups = known ? rowsOf(state, got, known) : [];
      const onRequest = waits(state, key);
      return {
        ...words(state, known ?? null, groups.flat()),
        draw() {
          drawn = groups.flat();
          directions.update(
            [
              { value: "tuned", label: "base’s into tuned" },
              { value: "base", label: "tuned’s into base" },
            ],
            into,
          );
          const text = quote(state.text(token), 14);
          const everywhere = placeOf(state) === "everywhere";
          places.update(
            [
              { value: "everywhere", label: "everywhere" },
              ...(token >= 0 ? [{ value: "here" as const, label: `at ${text}` }] : []),
            ],
            everywhere ? "everywhere" : "here",
          );
          directions.el.hidden = !known;
          places.el.hidden = !known || token < 0;
          measure.hidden = !onRequest;
          measure.textContent = `measure ${everywhere ? "for" : "at"} ${text}`;
          search.hidden = !known || known.whole || !searchable(state);
          search.textContent = `measure neurons of layer ${layer}`;
          draw(el, groups, into, state.selection);
          const all = buttons();
          reachable(all, all.find(isPressed));
        },
      };
    },
  };
}

/** Where the selected token is read, unless it is asked for all positions. */
function placeOf({ selection: { token }, options }: State): Place {
  return token < 0 || options.carried.everywhere ? "everywhere" : token;
}

/** What a key says of the exchange: into which model, where, and on which token. */
function exchangeOf(state: State): readonly [Side, Place, number | "answer"] {
  return [state.options.carried.into, placeOf(state), targetOf(state)];
}

function keyOf(state: State): Key<Tensor> | null {
  return missing(state) ? null : keys.exchanged(...exchangeOf(state));
}

/** Of the whole answer, with parts exchanged at every position: what a recording always has. */
function wholeOf({ options }: State): Key<Tensor> {
  return keys.exchanged(options.carried.into, "everywhere", "answer");
}

function needs(state: State): Need[] {
  const key = keyOf(state);
  if (!key) return [];
  const whole = wholeOf(state);
  if (state.lacks(key)) return quiet(key);
  if (waits(state, key)) return required(whole);
  if (state.has(key) || state.live) return [...required(key), ...inside(state)];
  return quiet(key, whole);
}

/** Of the selected layer its heads, its neurons where they were asked for, and the selected one. */
function inside(state: State): Need[] {
  const neurons = searchable(state) ? null : neuronsKey(state);
  const wanted = [headsKey(state), neurons, neuronKey(state)].flatMap((key) => key ?? []);
  return state.live ? optional(...wanted) : quiet(...wanted.filter((key) => state.has(key)));
}

function headsKey(state: State): Key<Tensor> | null {
  const { layer } = state.selection;
  return layer < 0 ? null : keys.exchangedHeads(...exchangeOf(state), layer);
}

function neuronKey(state: State): Key<Tensor> | null {
  const { layer, unit } = state.selection;
  const parsed = parseUnit(unit);
  if (layer < 0 || parsed?.kind !== "neuron") return null;
  return keys.exchangedNeuron(...exchangeOf(state), layer, parsed.index);
}

function neuronsKey(state: State): Key<NeuronExchanged[]> | null {
  const { layer } = state.selection;
  return layer < 0 ? null : keys.exchangedNeurons(...exchangeOf(state), layer);
}

/** Whether the neurons of the selected layer can be measured, and nobody has asked for it. */
function searchable(state: State): boolean {
  const key = neuronsKey(state);
  if (!state.live || !key || state.has(key) || state.lacks(key)) return false;
  return state.options.carried.neuronsOf !== state.selection.layer;
}

interface Shown {
  values: Tensor;
  /** Whether it is about the whole answer and all positions although another is selected. */
  whole: boolean;
}

function shownOf(state: State, got: Got, key: Key<Tensor>): Shown | null {
  const asked = waits(state, key) ? undefined : got(key).value;
  const values = asked ?? got(wholeOf(state)).value;
  return values ? { values, whole: !asked } : null;
}

function rowsOf(state: State, got: Got, { values, whole }: Shown): Row[][] {
  const cell = ({ data }: Tensor, at: number): Gone => [data[2 * at]!, data[2 * at + 1]!];
  const layers = Array.from({ length: values.shape[0]! }, (_, i) => ({
    ...{ name: i ? `layer ${i - 1}` : "embedding", layer: i - 1, head: -1 },
    cells: [0, 1, 2].slice(0, i ? 3 : 1).map((part) => cell(values, 3 * i + part)),
  }));
  if (whole) return [layers];
  const { layer, unit } = state.selection;
  const groups: Row[][] = [layers];
  const headed = headsKey(state);
  const heads = headed && got(headed).value;
  if (heads) {
    groups.push(
      Array.from({ length: heads.shape[0]! }, (_, head) => ({
        ...{ name: `head ${layer}.${head}`, layer, head, cells: [cell(heads, head)] },
      })),
    );
  }
  const all = neuronsKey(state);
  const neurons = (all && got(all).value)?.slice(0, NEURONS) ?? [];
  const single = neuronKey(state);
  const apart = single && got(single).value;
  const index = parseUnit(unit)?.index ?? -1;
  if (apart && neurons.every(([neuron]) => neuron !== index)) {
    neurons.push([index, ...cell(apart, 0)]);
  }
  if (neurons.length) {
    groups.push(
      neurons.map(([neuron, ...gone]) => ({
        ...{ name: `neuron ${layer}.${neuron}`, layer, head: -1, unit: `neuron:${neuron}` },
        cells: [gone],
      })),
    );
  }
  return groups;
}

function words(state: State, known: Shown | null, rows: readonly Row[]) {
  const key = keyOf(state);
  if (!key) return { title: TITLE, caption: missing(state) };
  if (!known) return { title: TITLE, caption: state.lacks(key) || NOT_SAVED };
  const { into } = state.options.carried;
  const { token } = state.selection;
  const donor = into === "tuned" ? "base" : "tuned";
  const at = known.whole ? "everywhere" : placeOf(state);
  const target = known.whole ? "answer" : targetOf(state);
  const whose = target === "answer" ? "the answer" : quote(state.text(token));
  const predicted = target === "answer" ? "" : ", where it is predicted";
  const where =
    at === "everywhere" ? "at every position" : `only at ${quote(state.text(at))}${predicted}`;
  const change = into === "tuned" ? `What tuned loses of ${whose}` : `What base gains of ${whose}`;
  const apart = known.whole && token >= 0 && !state.live ? " Not recorded at this token." : "";
  const inner = known.whole || state.live ? "" : innerMissing(state, rows);
  return {
    title: TITLE,
    note: "measured, one by one",
    caption: `${change}, in nats, with one part replaced by what ${donor} computes, ${where}.${apart}${inner}`,
    how: "Output is the residual stream behind a layer: with it all that was computed so far is exchanged. Parts work through each other, so that their nats do not add up. Select a layer for its heads, and for those of its neurons with which most of KL goes: gradients along the way from one block to the other choose twelve, which are measured. A neuron selected among the concepts has its own row.",
  };
}

/** Which rows inside the selected layer a page without models does not hold. */
function innerMissing(state: State, rows: readonly Row[]): string {
  const { layer, unit } = state.selection;
  const heads = headsKey(state);
  const lost = heads && !state.has(heads) ? ` Heads of layer ${layer} were not recorded here.` : "";
  return neuronKey(state) && rows.every((row) => row.unit !== unit)
    ? `${lost} Other neurons are exchanged over the models only.`
    : lost;
}

function draw(el: HTMLElement, groups: readonly Row[][], into: Side, selected: Selection): void {
  const all = groups.flat().flatMap(({ cells }) => cells.map(([nats]) => nats));
  const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  const share = (value: number) => (high > low ? (value - low) / (high - low) : 0);
  const head = h(
    "div",
    { class: "tl-each-head", "aria-hidden": "true" },
    h("span", {}),
    ...COLUMNS.map((name) => h("span", {}, name)),
  );
  let at = 0;
  const drawn = groups.map((rows, group) => {
    const most = COLUMNS.map((_, i) => Math.max(...rows.map(({ cells }) => cells[i]?.[0] ?? 0)));
    return h(
      "div",
      { class: "tl-each-group", "data-side": into },
      ...(group ? [] : [head]),
      ...rows.map((row) => line(row, at++, most, share, selected)),
    );
  });
  fill(el, ...(all.length ? drawn : []));
}

function line(
  row: Row,
  index: number,
  most: readonly number[],
  share: (value: number) => number,
  selected: Selection,
): HTMLElement {
  const cells = row.cells.map(([nats], i) => {
    const largest = row.cells.length * most.length > 1 && nats > 0 && nats === most[i];
    return h(
      "span",
      { class: "tl-each-cell", "data-value": nats, "data-most": largest },
      h("span", { class: "tl-carried-track" }, bar(share(0), share(nats))),
      h("span", { class: "tl-carried-value" }, number(Math.abs(nats) < 1e-3 ? 0 : nats)),
    );
  });
  const pieces = [h("span", { class: "tl-carried-name" }, row.name), ...cells];
  const props = { class: "tl-each-row", "data-row": index };
  if (row.layer < 0) return h("div", props, ...pieces);
  const on = row.unit
    ? row.unit === selected.unit
    : row.layer === selected.layer && row.head === selected.head;
  const label = `${row.name}: ${row.cells.map((cell, i) => said(row, cell, i)).join("; ")}`;
  const chosen = { type: "button", "aria-pressed": String(on), "aria-label": label };
  return h("button", { ...props, ...chosen }, ...pieces);
}

function said({ cells }: Row, [nats, share]: Gone, column: number): string {
  const name = cells.length > 1 ? `${COLUMNS[column]}: ` : "";
  return `${name}${number(nats)} nats, ${percent(share)} of KL gone`;
}
