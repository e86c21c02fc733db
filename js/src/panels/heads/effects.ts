// What each head does for the answer: estimates beside what interventions measure.

import type { Key } from "../../contract/contract.ts";
import { type BySide, SIDES, type Side } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { attempt } from "../../core/load.ts";
import type { Ablation } from "../../core/options.ts";
import type { Store } from "../../core/store.ts";
import { button, h, picker } from "../../draw/dom.ts";
import { number, quote, signed } from "../../draw/format.ts";
import { meter } from "../../draw/meter.ts";
import { windowList } from "../../draw/window_list.ts";
import { largest, type Numbers, spearman } from "../../maths/numbers.ts";
import type { View } from "../../shell/frame.ts";
import { makeJob } from "../../shell/job.ts";
import type { HeadView } from "./detail.ts";
import {
  ablationKeys,
  ablations,
  type ExactEffects,
  loadEffects,
  type Measured,
} from "./effects_data.ts";
import { nameOf, sorted } from "./list.ts";
import { ABLATIONS, focusToken, target } from "./measures.ts";

interface Effects {
  estimate: BySide<Numbers>;
  measured: Measured;
}

export function headEffects(store: Store, exact: ExactEffects, signal: AbortSignal): HeadView {
  const { heads } = store.manifest.pair;
  let order: number[] = [];
  let shown = 0;
  let view: View | null = null;
  const list = windowList(
    "heads by estimated effect",
    (row) => store.select({ layer: Math.floor(order[row]! / heads), head: order[row]! % heads }),
    signal,
  );
  const kind = picker<Ablation>(
    "what takes the place of the head's output",
    (ablation) => store.setOptions("heads", { ablation }),
    signal,
  );
  const job = makeJob(store, signal);
  const measure = (head: number) => {
    const { ablation } = store.options.heads;
    const on = target(store);
    const asked = ablationKeys(store, ablation, on, head);
    const of = (key: Key<Tensor>) => asked.find((one) => one.key === key)!;
    const keep = (key: Key<Tensor>, { data }: Tensor) => {
      if (head < 0) exact.add(key, data);
      else exact.addOne(of(key).whole, head, data[0]!);
      view?.refresh();
    };
    const wanted = asked.map(({ key }) => key);
    void job.start("measuring", wanted, {
      done: keep,
      async underway(key) {
        if (head >= 0) return;
        const value = await store.block(of(key).soFar, signal).catch(() => null);
        if (value) keep(key, value);
      },
      ended: () => view?.refresh(),
    });
    view?.refresh();
  };
  const one = button("this head", () => measure(shown), signal);
  const top = button("the top twenty", () => measure(-1), signal);
  const controls = h(
    "div",
    { class: "tl-effect-controls" },
    h("label", {}, "exact: set to ", kind.el),
    one,
    top,
    job.el,
  );
  const header = h(
    "div",
    { class: "tl-list-head" },
    h("span", {}, "layer · head"),
    h("span", { class: "tl-wide" }, "estimate"),
    h("span", { class: "tl-wide", "data-column": "exact" }, "exact"),
  );
  const note = h("p", { class: "tl-caption" });
  const body = h("div", { class: "tl-effects" }, header, list.el, note);
  return {
    name: "effects",
    label: "Effects",
    el: h("div", {}, controls, body),
    async load(now, { layer, head }) {
      const [estimate, measured] = await Promise.all([
        attempt(now, loadEffects(now)),
        exact.load(now),
      ]);
      const effects = estimate.value && { estimate: estimate.value, measured };
      return {
        caption: effects ? captionOf(store) : `Effects are not here: ${estimate.reason}`,
        draw() {
          [view, shown] = [now, layer * heads + head];
          body.hidden = !effects;
          controls.hidden = !effects || !(store.live || measured.any || recorded(store));
          one.hidden = top.hidden = !store.live;
          one.disabled = top.disabled = job.running;
          kind.update(
            ablations(store).map((value) => ({ value, label: ABLATIONS[value] })),
            store.options.heads.ablation,
          );
          if (!effects) return;
          body.classList.toggle("tl-unmeasured", !measured.any);
          order = byEffect(effects.estimate);
          list.draw(rowsOf(effects, order, heads, shown, store.selection.head >= 0));
          note.textContent = agreementOf(store, effects);
          Object.assign(list.el, { twinlens: { values: { ...effects.estimate }, measured } });
        },
      };
    },
  };
}

/** Whether the page holds exact effects of any kind on what is selected. */
function recorded(store: Store): boolean {
  const all = ablations(store).flatMap((kind) => ablationKeys(store, kind, target(store), -1));
  return all.some(({ key }) => store.has(key));
}

/** Heads by the larger of both models' estimates. */
export function byEffect({ base, tuned }: BySide<Numbers>): number[] {
  const size = (value: number) => (Number.isNaN(value) ? 0 : Math.abs(value));
  return sorted(Float64Array.from(base, (value, i) => Math.max(size(value), size(tuned[i]!))));
}

function rowsOf(
  { estimate, measured }: Effects,
  order: number[],
  heads: number,
  shown: number,
  chosen: boolean,
): Parameters<ReturnType<typeof windowList>["draw"]>[0] {
  const max = largest(estimate.base, estimate.tuned, measured.values.base, measured.values.tuned);
  return {
    count: order.length,
    chosen: chosen ? order.indexOf(shown) : -1,
    mark: (row) => nameOf(order[row]!, heads),
    label: (row) => {
      const i = order[row]!;
      const words = [...facts(estimate, i, "estimate"), ...facts(measured.values, i, "exact")];
      return `layer ${Math.floor(i / heads)}, head ${i % heads}: ${words.join(", ")}`;
    },
    cells(row) {
      const i = order[row]!;
      return [
        h("span", { class: "tl-list-name" }, nameOf(i, heads, " · ")),
        effects(estimate, i, max, "hatched"),
        effects(measured.values, i, max, "solid"),
      ];
    },
  };
}

function facts(values: BySide<Numbers>, i: number, kind: string): string[] {
  return SIDES.filter((side) => Number.isFinite(values[side][i])).map(
    (side) => `${kind} ${side} ${number(values[side][i]!)} nats`,
  );
}

/** Bars and numbers of both models. */
function effects(values: BySide<Numbers>, i: number, max: number, look: "hatched" | "solid") {
  const finite = (side: Side) => (Number.isFinite(values[side][i]) ? values[side][i] : undefined);
  const known = { base: finite("base"), tuned: finite("tuned") };
  const text = (side: Side) =>
    h("b", { "data-side": side }, known[side] === undefined ? "" : signed(known[side]));
  const any = SIDES.some((side) => known[side] !== undefined);
  return h(
    "span",
    { class: "tl-list-cell tl-wide", "data-column": look === "solid" ? "exact" : "estimate" },
    any && meter(known, max, look),
    any && h("span", { class: "tl-meter-text" }, text("base"), text("tuned")),
  );
}

function captionOf(store: Store): string {
  const token = focusToken(store);
  const of = token >= store.promptLength ? quote(store.text(token)) : "the whole answer";
  return `How much each head raises (right) or lowers (left) the log-probability of ${of}, in nats; base above, tuned below, one scale. Hatched: an estimate by gradient. Solid: measured, by setting the head's output to ${ABLATIONS[store.options.heads.ablation]}.`;
}

/** How well the estimates rank the heads that were measured. */
function agreementOf(store: Store, { estimate, measured }: Effects): string {
  if (!measured.any) {
    return store.live
      ? "No head is measured yet: the estimates are unchecked."
      : "No exact effect is recorded here: the estimates are unchecked.";
  }
  const parts = SIDES.map((side) => {
    const { rho, n } = spearman(estimate[side], measured.values[side]);
    return n > 0 ? `${side} ${number(rho)} (${n} measured)` : "";
  });
  return `Agreement of the estimates with exact effects, rank correlation ρ: ${parts.filter(Boolean).join(", ")}.`;
}
