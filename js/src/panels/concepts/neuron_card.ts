// What became of a neuron: its value vector moved, or it is used more; and what it does.

import { type Key, keys, type NeuronChange, SIDES } from "../../contract/contract.ts";
import { parseUnit } from "../../contract/units.ts";
import { type Got, type Need, quiet, reasonOf } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import { button, h } from "../../draw/dom.ts";
import { number, ofBoth, percent, quote, signed } from "../../draw/format.ts";
import { meter } from "../../draw/meter.ts";
import { largest } from "../../maths/numbers.ts";
import type { PanelSetting } from "../../shell/frame.ts";
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

interface Facts extends Neuron {
  change: NeuronChange | null;
  target: Target;
  estimate: Values | null;
  exact: Values | null;
}

export function neuronCard({ store, signal, refresh }: PanelSetting) {
  const el = h("div", { class: "tl-card", role: "group", "aria-label": "what became of it" });
  let drawn: Facts | null = null;
  const start = button("measure its effect", () => void run(), signal, {
    title: "set it to zero in both models",
  });
  const status = h("span", { class: "tl-quiet", role: "status" });
  const run = async () => {
    if (!drawn) return;
    start.disabled = true;
    status.textContent = "measuring";
    try {
      await measure(store, drawn.target, drawn, signal);
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
    needs,
    /** What there is to say about the shown unit; the result draws it. */
    picture(state: State, got: Got) {
      const facts = factsOf(state, got);
      const lines = facts ? [...changes(state, facts), ...effects(facts)] : [];
      return () => {
        if (drawn?.neuron !== facts?.neuron || drawn?.target.key !== facts?.target.key) {
          status.textContent = "";
        }
        drawn = facts;
        start.hidden = !store.live || !facts || facts.exact !== null;
        el.hidden = !facts || (lines.length === 0 && !store.live);
        const act = start.hidden ? [] : [h("div", { class: "tl-card-act" }, start, status)];
        el.replaceChildren(...lines, ...act);
      };
    },
  };
}

function needs(state: State): Need[] {
  const neuron = neuronOf(state);
  if (!neuron) return [];
  const target = targetOf(state);
  const change = changeKey(state, neuron);
  const parts = [keys.neuronWords(neuron.layer, neuron.neuron), ...activationKeys(neuron)];
  return [
    ...quiet(...(state.live || state.has(change) ? [change] : parts)),
    // All neurons at once take a pass back through both models: only where that was asked for.
    ...known(state, estimateKeys(target)),
    ...known(state, exactKeys(target, neuron)),
  ];
}

/** The selected neuron; none is shown unless it is selected. */
function neuronOf({ selection: { layer, unit } }: State): Neuron | null {
  const parsed = parseUnit(unit);
  return parsed?.kind === "neuron" ? { layer, neuron: parsed.index } : null;
}

function changeKey({ selection: { token } }: State, { layer, neuron }: Neuron): Key<NeuronChange> {
  return keys.neuronChange(layer, neuron, token < 0 ? "answer" : token);
}

function factsOf(state: State, got: Got): Facts | null {
  const neuron = neuronOf(state);
  if (!neuron) return null;
  const target = targetOf(state);
  return {
    ...neuron,
    change: got(changeKey(state, neuron)).value ?? changeFrom(state, got, neuron),
    target,
    estimate: estimateOf(got, target, neuron),
    exact: exactOf(got, target, neuron),
  };
}

/** The same from what recordings keep: lengths and cosine of the vectors, and activations. */
function changeFrom(state: State, got: Got, neuron: Neuron): NeuronChange | null {
  const vectors = got(keys.neuronWords(neuron.layer, neuron.neuron)).value;
  if (state.live || !vectors) return null;
  const { cosine } = vectors;
  const [b, t] = [vectors.base.norm, vectors.tuned.norm];
  const apart = Math.sqrt(Math.max(b * b + t * t - 2 * b * t * cosine, 0));
  const { base = null, tuned = null } = activationsOf(state, got, neuron);
  return {
    moved: b > 0 ? apart / b : null,
    cosine,
    base,
    tuned,
    used: base === null || tuned === null ? null : Math.abs(tuned) - Math.abs(base),
    write: { base: base === null ? null : base * b, tuned: tuned === null ? null : tuned * t },
  };
}

function changes(state: State, { change }: Facts): HTMLElement[] {
  if (!change) return [];
  const { token } = state.selection;
  const where = token < 0 ? "over the answer" : `at ${quote(state.text(token))}`;
  const active = { base: change.base ?? undefined, tuned: change.tuned ?? undefined };
  const write = { base: change.write.base ?? undefined, tuned: change.write.tuned ?? undefined };
  const moved = change.moved ?? Number.NaN;
  const style = `width: ${Math.min(change.moved ?? 0, 1) * 100}%`;
  const share = h("span", { class: "tl-meter tl-gauge" }, h("i", { "data-value": moved, style }));
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
    h("span", { class: "tl-fact-text tl-aside" }, said),
  );
}

function valuesOf(values: Values | null): number[] {
  return SIDES.map((side) => values?.[side] ?? 0);
}

function text(values: Values): string {
  const { base, tuned } = values;
  const apart = base === undefined || tuned === undefined ? "" : signed(tuned - base);
  return `${ofBoth(values)}${apart && `, difference ${apart}`}`;
}
