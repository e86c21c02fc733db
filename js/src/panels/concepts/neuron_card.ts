// What became of a neuron: its value vector moved, or it is used more; and what it does.

import { type BySide, keys, type NeuronChange, SIDES } from "../../contract/contract.ts";
import { parseUnit } from "../../contract/units.ts";
import { reasonOf } from "../../core/load.ts";
import type { Store } from "../../core/store.ts";
import { button, h } from "../../draw/dom.ts";
import { number, percent, quote, signed } from "../../draw/format.ts";
import { meter } from "../../draw/meter.ts";
import { largest } from "../../maths/numbers.ts";
import type { View } from "../../shell/frame.ts";
import type { Concepts } from "./data.ts";
import {
  activationsOf,
  type Effect,
  effectOf,
  hasEstimates,
  isMeasured,
  loadEstimates,
  measure,
  type Target,
  targetOf,
} from "./neuron_effects.ts";

interface Facts {
  layer: number;
  neuron: number;
  change: NeuronChange | null;
  target: Target;
  estimate: Effect | null;
  exact: Effect | null;
}

export interface NeuronCard {
  el: HTMLElement;
  /** Load what there is to say about the shown unit; the result draws it. */
  load(view: View, concepts: Concepts): Promise<() => void>;
}

export function neuronCard(store: Store, signal: AbortSignal): NeuronCard {
  const el = h("div", { class: "tl-card", role: "group", "aria-label": "what became of it" });
  let refresh = () => {};
  let facts: Facts | null = null;
  const start = button("measure its effect", () => void run(), signal, {
    title: "set it to zero in both models",
  });
  const status = h("span", { class: "tl-status", role: "status" });
  const run = async () => {
    if (!facts) return;
    const { layer, neuron, target } = facts;
    start.disabled = true;
    status.textContent = "measuring";
    try {
      await measure(store, layer, neuron, target, signal);
      status.textContent = "";
      refresh();
    } catch (error) {
      status.textContent = reasonOf(error);
    } finally {
      start.disabled = false;
    }
  };
  return {
    el,
    async load(view, concepts) {
      refresh = view.refresh;
      const loaded = await loadFacts(view, concepts);
      return () => {
        if (facts?.neuron !== loaded?.neuron || facts?.target.key !== loaded?.target.key) {
          status.textContent = "";
        }
        facts = loaded;
        el.hidden = !loaded || (!loaded.change && !loaded.estimate && !loaded.exact && !store.live);
        if (!loaded) return el.replaceChildren();
        start.hidden = !store.live || loaded.exact !== null;
        const act = start.hidden ? [] : [h("div", { class: "tl-card-act" }, start, status)];
        el.replaceChildren(
          ...(loaded.change ? changes(store, loaded.change) : []),
          ...effects(loaded),
          ...act,
        );
      };
    },
  };
}

async function loadFacts(view: View, { unit, layer }: Concepts): Promise<Facts | null> {
  const parsed = parseUnit(unit);
  if (parsed?.kind !== "neuron") return null;
  const { store } = view;
  const neuron = parsed.index;
  const target = targetOf(store);
  const { token } = store.selection;
  const key = keys.neuronChange(layer, neuron, token < 0 ? "answer" : token);
  const [change, estimates, exact] = await Promise.all([
    view.optional(
      store.live || store.has(key) ? view.block(key) : changeFrom(view, layer, neuron),
      true,
    ),
    // All neurons at once take a pass back through both models: only where that was asked for.
    hasEstimates(store, target) ? loadEstimates(view, target) : null,
    isMeasured(store, layer, neuron, target)
      ? measure(store, layer, neuron, target, view.signal)
      : null,
  ]);
  return { layer, neuron, change, target, estimate: effectOf(estimates, layer, neuron), exact };
}

/** The same from what recordings keep: lengths and cosine of the vectors, and activations. */
async function changeFrom(view: View, layer: number, neuron: number): Promise<NeuronChange> {
  const [vectors, active] = await Promise.all([
    view.block(keys.neuronWords(layer, neuron)),
    activationsOf(view, layer, neuron),
  ]);
  const [b, t] = [vectors.base.norm, vectors.tuned.norm];
  const apart = Math.sqrt(Math.max(b * b + t * t - 2 * b * t * vectors.cosine, 0));
  const { base = null, tuned = null } = active;
  return {
    moved: b > 0 ? apart / b : null,
    cosine: vectors.cosine,
    base,
    tuned,
    used: base === null || tuned === null ? null : Math.abs(tuned) - Math.abs(base),
    write: { base: base === null ? null : base * b, tuned: tuned === null ? null : tuned * t },
  };
}

function changes(store: Store, change: NeuronChange): HTMLElement[] {
  const { token } = store.selection;
  const where = token < 0 ? "over the answer" : `at ${quote(store.text(token))}`;
  const active = { base: change.base ?? undefined, tuned: change.tuned ?? undefined };
  const write = { base: change.write.base ?? undefined, tuned: change.write.tuned ?? undefined };
  const moved = change.moved ?? Number.NaN;
  const bar = h("i", { "data-value": moved });
  bar.style.width = `${Math.min(change.moved ?? 0, 1) * 100}%`;
  const share = h("span", { class: "tl-meter tl-gauge" }, bar);
  return [
    fact(
      "The vector moved",
      share,
      `by ${percent(moved)} of its length, cosine ${number(change.cosine)}`,
    ),
    fact(
      `It is used ${usage(change)}`,
      meter(active, largest(valuesOf(active))),
      `activation ${where}: ${text(active)}`,
    ),
    fact(
      "So it writes",
      meter(write, largest(valuesOf(write))),
      `activation times length: ${text(write)}`,
    ),
  ];
}

/** Whether tuned uses the neuron more, in words. */
function usage({ base, tuned, used }: NeuronChange): string {
  if (used === null || base === null || tuned === null) return "by one model only";
  if (Math.sign(base) * Math.sign(tuned) < 0) return "the other way round";
  const share = Math.abs(used) / Math.max(Math.abs(base), Math.abs(tuned), 1e-12);
  if (share < 0.05) return "as before";
  return used > 0 ? "more" : "less";
}

function effects({ target, estimate, exact }: Facts): HTMLElement[] {
  const max = largest(valuesOf(estimate), valuesOf(exact));
  const lines: HTMLElement[] = [];
  const on = `nats of ${target.name}`;
  if (estimate) {
    lines.push(
      fact("Effect, estimated", meter(estimate, max, "hatched"), `${text(estimate)} ${on}`),
    );
  }
  if (exact) lines.push(fact("Effect, measured", meter(exact, max), `${text(exact)} ${on}`));
  return lines;
}

function fact(name: string, picture: HTMLElement, said: string): HTMLElement {
  return h(
    "div",
    { class: "tl-fact" },
    h("b", {}, name),
    picture,
    h("span", { class: "tl-fact-text" }, said),
  );
}

function valuesOf(values: BySide<number | undefined> | null): number[] {
  return SIDES.map((side) => values?.[side] ?? 0);
}

function text(values: BySide<number | undefined>): string {
  const { base, tuned } = values;
  const sides = SIDES.map((side) => `${side} ${number(values[side] ?? Number.NaN)}`).join(", ");
  return base === undefined || tuned === undefined
    ? sides
    : `${sides}, difference ${signed(tuned - base)}`;
}
