// What each head does for the answer: estimates beside what interventions measure.

import { type Ablation, type BySide, SIDES, type Side } from "../../contract/contract.ts";
import { quiet } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import { button, h, picker } from "../../draw/dom.ts";
import { number, quote, signed } from "../../draw/format.ts";
import { meter } from "../../draw/meter.ts";
import { type Rows, windowList } from "../../draw/window_list.ts";
import { largest, type Numbers, spearman } from "../../maths/numbers.ts";
import type { PanelSetting, Row } from "../../shell/frame.ts";
import { makeJob } from "../../shell/job.ts";
import type { HeadView } from "./detail.ts";
import {
  ablationKeys,
  ablations,
  type ExactEffects,
  effectKeys,
  effectsOf,
  exactKeys,
  type Measured,
  noEffects,
} from "./effects_data.ts";
import { nameOf, sorted, spoken } from "./list.ts";
import { ABLATION_NAMES, focusToken, headAt } from "./measures.ts";

interface Effects {
  estimate: BySide<Numbers>;
  measured: Measured;
}

export function headEffects(
  { store, signal, refresh }: PanelSetting,
  exact: ExactEffects,
): HeadView {
  const { heads } = store.manifest.pair;
  let order: number[] = [];
  let shownAt = 0;
  const list = windowList("heads by their effect", signal, (row) =>
    store.select(headAt(order[row]!, heads)),
  );
  const kind = picker<Ablation>("what takes the place of the head's output", signal, (ablation) =>
    store.setOptions("heads", { ablation }),
  );
  const job = makeJob(store, signal);
  /** Measure one head, or those with the largest estimates (-1). */
  const measure = (head: number) => {
    const asked = ablationKeys(store, store.options.heads.ablation, head);
    const ablationOf = (key: string) => asked.find((ablation) => ablation.key === key)!;
    const keep = (key: string, values: Numbers) => {
      exact.add(ablationOf(key).whole, values);
      refresh();
    };
    const wanted = asked.map(({ key }) => key);
    void job.start("measuring", wanted, {
      done: (key, { data }) =>
        keep(key, head < 0 ? data : noEffects(store).fill(data[0]!, head, head + 1)),
      async underway(key) {
        if (head >= 0) return;
        const block = await store.block(ablationOf(key).soFar, signal).catch(() => null);
        if (block) keep(key, block.data);
      },
      ended: refresh,
    });
    refresh();
  };
  const single = button("this head", () => measure(shownAt), signal);
  const top = button("the top twenty", () => measure(-1), signal);
  const controls = h(
    "div",
    { class: "tl-flow tl-effect-controls" },
    h("label", {}, "exact: set to ", kind.el),
    single,
    top,
    job.el,
  );
  const sorters = RANKED.map((ranked) =>
    button("", () => store.setOptions("heads", { ranked }), signal, {
      class: "tl-sorter tl-wide",
      "data-column": ranked,
    }),
  );
  const header = h("div", { class: "tl-list-head" }, h("span", {}, "layer · head"), ...sorters);
  const note = h("p", { class: "tl-caption" });
  const body = h("div", { class: "tl-effects" }, header, list.el, note);
  return {
    name: "effects",
    label: "Effects",
    el: h("div", {}, controls, body),
    needs: (state) => quiet(...effectKeys(state), ...exactKeys(state)),
    picture(state, got, { layer, head, chosen }) {
      const reason = effectKeys(state).flatMap((key) => got(key).reason ?? [])[0];
      const effects = { estimate: effectsOf(state, got), measured: exact.known(state, got) };
      const { ablation, ranked } = state.options.heads;
      const by = effects.measured.any ? ranked : "estimate";
      const kinds = ablations(state).map((value) => ({ value, label: ABLATION_NAMES[value] }));
      const offered = state.live || effects.measured.any || recorded(state);
      return {
        caption: reason ? `Effects are not here: ${reason}` : PLAIN,
        how: reason ? "" : captionOf(state),
        table: () => effectsTable(effects, heads),
        draw() {
          shownAt = layer * heads + head;
          body.hidden = reason !== undefined;
          controls.hidden = reason !== undefined || !offered;
          single.hidden = top.hidden = !state.live;
          single.disabled = top.disabled = job.running;
          kind.update(kinds, ablation);
          if (reason !== undefined) return;
          body.classList.toggle("tl-unmeasured", !effects.measured.any);
          order = by === "exact" ? byMeasured(effects) : byEffect(effects.estimate);
          for (const [i, one] of RANKED.entries()) {
            const sorter = sorters[i]!;
            sorter.textContent = one === by ? `${NAMES[one]} ↓` : NAMES[one];
            sorter.setAttribute("aria-pressed", String(one === by));
            sorter.setAttribute("aria-label", `rank by ${NAMES[one]} effect`);
            sorter.disabled = one === "exact" && !effects.measured.any;
          }
          list.draw(rowsOf(effects, order, heads, chosen ? order.indexOf(shownAt) : -1));
          note.textContent = agreementOf(effects, state.live, by);
          const { estimate: values, measured } = effects;
          Object.assign(list.el, { twinlens: { values, measured } });
        },
      };
    },
  };
}

/** Head by head, for a file. */
function effectsTable({ estimate, measured }: Effects, heads: number): Row[] {
  const names = ["estimate_base", "estimate_tuned", "exact_base", "exact_tuned"];
  const rows = Array.from(estimate.base, (_, i) => {
    const { layer, head } = headAt(i, heads);
    const ofSidesAt = (values: BySide<Numbers>) => SIDES.map((side) => values[side][i]!);
    return [layer, head, ...ofSidesAt(estimate), ...ofSidesAt(measured.values)];
  });
  return [["layer", "head", ...names], ...rows];
}

/** Whether the page holds exact effects of any kind on what is selected. */
function recorded(state: State): boolean {
  const all = ablations(state).flatMap((kind) => ablationKeys(state, kind, -1));
  return all.some(({ key }) => state.has(key));
}

/** Heads by the larger of both models' estimates. */
export function byEffect({ base, tuned }: BySide<Numbers>): number[] {
  const size = (value: number) => (Number.isNaN(value) ? 0 : Math.abs(value));
  return sorted(Float64Array.from(base, (value, i) => Math.max(size(value), size(tuned[i]!))));
}

/** Those that were measured first, by the larger of both effects; the others by estimate. */
function byMeasured({ estimate, measured: { values } }: Effects): number[] {
  const known = (i: number) => SIDES.some((side) => Number.isFinite(values[side][i]));
  const first = byEffect(values).filter(known);
  return [...first, ...byEffect(estimate).filter((i) => !known(i))];
}

function rowsOf(
  { estimate, measured }: Effects,
  order: number[],
  heads: number,
  chosen: number,
): Rows {
  const max = largest(estimate.base, estimate.tuned, measured.values.base, measured.values.tuned);
  return {
    count: order.length,
    chosen,
    mark: (row) => nameOf(order[row]!, heads),
    label: (row) => {
      const i = order[row]!;
      const words = [...facts(estimate, i, "estimate"), ...facts(measured.values, i, "exact")];
      return `${spoken(i, heads)}: ${words.join(", ")}`;
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

const RANKED = ["estimate", "exact"] as const;
const NAMES = { estimate: "estimated", exact: "measured" };
const PLAIN = "To the right: the answer needs the head; to the left: it would be likelier without.";

function captionOf(state: State): string {
  const token = focusToken(state);
  const whose = token >= state.promptLength ? quote(state.text(token)) : "the whole answer";
  return `How much each head raises (right) or lowers (left) the log-probability of ${whose}, in nats; base above, tuned below, one scale. Hatched: an estimate by gradient. Solid: measured, by setting the head's output to ${ABLATION_NAMES[state.options.heads.ablation]}.`;
}

/** How well the estimates rank the heads that were measured. */
function agreementOf({ estimate, measured }: Effects, live: boolean, by: string): string {
  if (!measured.any) {
    return live
      ? "No head is measured yet: the estimates are unchecked."
      : "No exact effect is recorded here: the estimates are unchecked.";
  }
  const parts = SIDES.map((side) => {
    const { rho, n } = spearman(estimate[side], measured.values[side]);
    return n > 0 ? `${side} ${number(rho)} (${n} measured)` : "";
  });
  const rest = by === "exact" ? "Heads that were measured stand first. " : "";
  return `${rest}Agreement of the estimates with exact effects, rank correlation ρ: ${parts.filter(Boolean).join(", ")}.`;
}
