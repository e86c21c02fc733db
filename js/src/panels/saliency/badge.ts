// How far the picture can be trusted: agreement with exact occlusion, the run that measures it,
// and deletion curves.

import {
  type BySide,
  type DeletionCurve,
  EXACT,
  type Faithfulness,
  type Key,
  keys,
  type Method,
  SIDES,
  type Side,
} from "../../contract/contract.ts";
import { attempt, type Got, LOADING, type Load } from "../../core/load.ts";
import { complete, type ExactRun, exactRun, rowsDone } from "../../core/runs.ts";
import type { Store } from "../../core/store.ts";
import { button, fill, h, table } from "../../draw/dom.ts";
import { count, number, percent } from "../../draw/format.ts";
import { bySide, eachSide, spearman } from "../../maths/numbers.ts";
import type { Setting } from "../../shell/frame.ts";
import { aside } from "./aside.ts";
import { barsOf, scoredTokens } from "./bars.ts";
import { deletionChart } from "./deletion_chart.ts";
import type { Facts } from "./facts.ts";
import { together } from "./focus.ts";
import { estimated, shownRun, standIn, type Table } from "./table.ts";

export interface Badge {
  el: HTMLElement;
  /** What an estimate that does not predict the exact effects says of itself. */
  warning: HTMLElement;
  /** Bring it up to date with what is drawn; what it has to ask for comes later. */
  draw(facts: Facts): void;
}

/** An estimate that agrees less with the exact effects is drawn in grey. */
const WEAK = 0.3;

/** The method whose numbers are on the screen, as far as they are not measured. */
function judged(store: Store): Method | undefined {
  const { method } = store;
  if (!method?.exact) return method;
  return shownRun(store)!.status === "done" ? method : (standIn(store) ?? method);
}

/** `grey` is told whether what is drawn is a weak estimate. */
export function saliencyBadge(
  { store, surface, signal }: Setting,
  grey: (weak: boolean) => void,
): Badge {
  let name = "";
  /** The state of the exact run for which agreement was asked. */
  let checked = "";
  let agreement: BySide<Faithfulness> | null = null;
  let asking = false;
  let curves: Load<BySide<DeletionCurve>> | null = null;
  /** What is drawn. */
  let facts: Facts | null = null;

  const run = () => exactRun(store, store.method?.exact ? store.method.name : EXACT);
  const line = h("span", { class: "tl-run-text" });
  const gauge = h("i", { class: "tl-run-gauge" }, h("i", {}));
  const act = button("", () => (run().status === "running" ? run().stop() : run().start()), signal);
  const status = h("div", { class: "tl-flow tl-run", role: "status" }, gauge, line, act);
  const warning = h("p", { class: "tl-weak", role: "status", hidden: true });
  const showExact = button("show exact", () => store.setMethod(EXACT), signal);
  const unfold = () =>
    store.setOptions("saliency", { trustOpen: !store.options.saliency.trustOpen });
  const chip = button("", unfold, signal, { class: "tl-button tl-badge" });
  const agreed = h("div", { class: "tl-trust-table" });
  const chart = h("div", { class: "tl-trust-chart" });
  const details = h("div", { class: "tl-flow tl-trust", hidden: true }, agreed, chart);
  const el = h(
    "div",
    { class: "tl-badge-row" },
    h("div", { class: "tl-flow tl-badge-line" }, chip, status),
    details,
  );

  /** A block of both models, which the picture does not wait for; null once it is another method's. */
  const beside = async <T>(key: (side: Side, method: string) => Key<T>) => {
    const asked = name;
    const blocks = bySide((side) => store.block(key(side, asked), signal));
    const load = await attempt({ signal }, blocks).catch(() => null); // the panel is gone
    return name === asked ? load : null;
  };

  const loadCurves = async () => {
    curves = LOADING;
    curves = (await beside(keys.deletion)) ?? curves;
    draw();
  };

  /** Asked again after every piece of the run, one question at a time. */
  const loadAgreement = async () => {
    asking = true;
    const load = await beside(keys.faithfulness);
    asking = false;
    if (load) agreement = load.value ?? null;
    draw();
  };

  /** Exact tables of a recording, where no run has brought them in. */
  const recorded = aside(store, signal, () => draw());
  const draw = () => {
    const method = judged(store);
    el.hidden = !method;
    if (!method || !facts) return;
    if (method.name !== name) {
      name = method.name;
      checked = "";
      agreement = null;
      curves = null;
    }
    const { trustOpen } = store.options.saliency;
    if (trustOpen && !curves) void loadCurves();
    const now = version(exactRun(store, EXACT));
    if (now !== checked && !asking) {
      checked = now;
      void loadAgreement();
    }
    drawRun(run(), store, agreement, { status, line, gauge, act });
    chip.setAttribute("aria-expanded", String(trustOpen));
    const drawn = drawnAgreement(store, facts, agreement, recorded);
    fill(chip, ...chipText(store, method, agreement, drawn));
    warn(drawn);
    details.hidden = !trustOpen;
    if (!trustOpen) return;
    agreed.replaceChildren(...tableOf(method, agreement));
    chart.replaceChildren(
      curves?.value
        ? deletionChart(curves.value, surface)
        : h("p", { class: "tl-caption" }, `Deletion curves: ${curves?.reason ?? "computing …"}`),
    );
  };
  /** Say it where an estimate is weak, and have it drawn in grey. */
  const warn = (agreed: Agreed | null) => {
    const values = SIDES.flatMap((side) => agreed?.rho[side] ?? []);
    const worst = Math.min(...values);
    const weak = store.method?.exact === false && values.length > 0 && worst < WEAK;
    warning.hidden = !weak;
    grey(weak);
    if (!weak) return;
    const rho = SIDES.flatMap((side) => {
      const value = agreed!.rho[side];
      return value === null ? [] : [`${side} ρ ${value.toFixed(2).replace("-", "−")}`];
    }).join(", ");
    const offered = store.manifest.methods.some(({ name }) => name === EXACT);
    warning.replaceChildren(
      `This estimate does not predict what hiding a token does here (${agreed!.what}${rho}).`,
      ...(offered ? [" ", showExact] : []),
    );
  };
  exactRun(store, EXACT).subscribe(draw, signal);
  return {
    el,
    warning,
    draw(now) {
      facts = now;
      draw();
    },
  };
}

/** Rows of each model that are measured. */
function measuredRows({ tables }: ExactRun): number[] {
  return SIDES.map((side) => (tables[side] ? rowsDone(tables[side]) : 0));
}

/** Changes whenever there may be more exact cells. */
function version(run: ExactRun): string {
  return [run.status, ...measuredRows(run)].join(":");
}

interface RunParts {
  status: HTMLElement;
  line: HTMLElement;
  gauge: HTMLElement;
  act: HTMLButtonElement;
}

function drawRun(
  run: ExactRun,
  store: Store,
  agreement: BySide<Faithfulness> | null,
  { status, line, gauge, act }: RunParts,
): void {
  const method = store.manifest.methods.find((entry) => entry.name === run.method);
  const checked = agreement && SIDES.every((side) => agreement[side].n >= agreement[side].cells);
  const begun = run.status === "running" || run.status === "stopped" || run.status === "failed";
  // Where nothing is measured yet, a live trace offers to.
  status.hidden = !method || run.status === "done" || (!begun && (!agreement || Boolean(checked)));
  status.dataset.status = run.status;
  if (status.hidden) return;
  const rows = store.promptLength;
  const done = measuredRows(run);
  const share = done.reduce((sum, count) => sum + count, 0) / (2 * rows || 1);
  gauge.hidden = !begun;
  (gauge.firstElementChild as HTMLElement).style.width = `${(share * 100).toFixed(1)}%`;
  status.dataset.done = done.join(" ");
  const far = SIDES.map((side, i) => `${side} ${done[i]} of ${rows}`).join(", ");
  line.textContent = {
    running: `measuring, prompt tokens: ${far}`,
    stopped: `stopped, measured so far: ${far}`,
    failed: run.reason,
    unknown: "",
    done: "",
  }[run.status];
  act.textContent =
    {
      running: "Stop",
      stopped: "Continue",
      failed: "Try again",
    }[run.status as string] ?? "measure the exact effects";
}

/** Rank correlation of what is drawn with the same from exact effects. */
interface Agreed {
  what: string;
  rho: BySide<number | null>;
}

/** Of densities and levels, where these are drawn; else of the effects themselves. */
function drawnAgreement(
  store: Store,
  { bars, tables }: Facts,
  agreement: BySide<Faithfulness> | null,
  recorded: Got,
): Agreed | null {
  if (store.method?.exact) return null;
  const { measure, on, focus } = bars;
  if (on === "prompt" && together(focus) && (measure === "density" || measure === "levels")) {
    const exact = exactTables(store, recorded);
    const comparable = exact && SIDES.every((side) => tables[side]?.width === exact[side].width);
    if (!comparable) return { what: `${measure}: `, rho: { base: null, tuned: null } };
    const truth = barsOf(store, exact).values;
    const scored = scoredTokens(store);
    const rho = eachSide((side) => {
      const [first, second] = [bars.values[side], truth[side]].map((list) =>
        scored.map((n) => list?.[n] ?? Number.NaN),
      ) as [number[], number[]];
      const correlation = spearman(first, second).rho;
      return Number.isNaN(correlation) ? null : correlation;
    });
    return { what: `${measure}: `, rho };
  }
  return agreement && { what: "", rho: eachSide((side) => agreement[side].spearman) };
}

/** What is measured of both models, once it is all there. */
function exactTables(store: Store, recorded: Got): BySide<Table> | null {
  const run = exactRun(store, EXACT);
  const key = (side: Side) => keys.saliency(side, EXACT);
  const tables = eachSide((side) => {
    const recordedHere = run.status === "unknown" && store.has(key(side));
    return recordedHere ? (recorded(key(side)).value ?? null) : run.tables[side];
  });
  if (!SIDES.every((side) => complete(tables[side]))) return null;
  return eachSide((side) => estimated(tables[side]!.data, store.answer(side).tokens.length));
}

function chipText(
  store: Store,
  method: Method,
  agreement: BySide<Faithfulness> | null,
  drawn: Agreed | null,
): HTMLElement[] {
  const word = (text: string) => h("span", {}, text);
  if (method.exact && method === store.method) {
    const loud = agreement && SIDES.map((side) => agreement[side].above_noise);
    const known = loud?.every((share) => share !== null);
    const parts = known
      ? SIDES.map((side, i) => coloured(side, `${side} ${percent(loud![i]!)}`, loud![i]!))
      : [];
    return [
      word(shownRun(store)!.status === "done" ? "exact" : "exact where shown"),
      ...(known ? [word("cells above the noise floor"), ...parts] : []),
    ];
  }
  if (!agreement) return [word("agreement with exact occlusion …")];
  if (drawn?.what) {
    const name = drawn.what.slice(0, -2);
    if (rhos(drawn.rho).length === 0) {
      return [word(`estimate, its ${name} not checked against exact occlusion yet`)];
    }
    return [word(`${name} against that of exact occlusion`), ...rhos(drawn.rho)];
  }
  const known = rhos(eachSide((side) => agreement[side].spearman));
  if (known.length === 0) return [word("estimate, not checked against exact occlusion yet")];
  return [
    word(method === store.method ? "agreement with exact occlusion" : `${method.title} agrees`),
    ...known,
    word(sofar(agreement)),
  ].filter((word) => word.textContent !== "");
}

/** Rank correlations, of the models that have one. */
function rhos(rho: BySide<number | null>): HTMLElement[] {
  return SIDES.flatMap((side) => {
    const value = rho[side];
    return value === null ? [] : [coloured(side, `${side} ρ ${number(value)}`, value)];
  });
}

function coloured(side: Side, text: string, value: number): HTMLElement {
  return h("b", { "data-side": side, "data-value": value }, text);
}

function sofar(agreement: BySide<Faithfulness>): string {
  const part = SIDES.some((side) => agreement[side].n < agreement[side].cells);
  if (!part) return "";
  const [n, cells] = (["n", "cells"] as const).map((name) =>
    SIDES.reduce((sum, side) => sum + agreement[side][name], 0),
  );
  return `on ${n} of ${cells} cells`;
}

type Field = "spearman" | "pearson" | "top1" | "above_noise" | "n";
type Column = [
  field: Field,
  title: string,
  hint: string,
  text: (value: number, known: Faithfulness) => string,
];

const COLUMNS: Column[] = [
  [
    "spearman",
    "rank ρ",
    "Spearman correlation per answer token over the prompt tokens that count, averaged",
    number,
  ],
  ["pearson", "linear r", "Pearson correlation per answer token, averaged", number],
  [
    "top1",
    "same top token",
    "Answer tokens that depend on the prompt by 1 nat or more, in which the largest estimate is the largest effect",
    (share, known) => `${percent(share)} of ${count(known.columns_top1, "answer token")}`,
  ],
  [
    "above_noise",
    "above noise",
    "Exact cells with an effect of at least 0.1 nats either way",
    (share) => `${percent(share)} of cells`,
  ],
  [
    "n",
    "measured",
    "Exact cells it is computed on",
    (cells, known) => `${cells} of ${known.cells} cells`,
  ],
];

function tableOf(method: Method, agreement: BySide<Faithfulness> | null): HTMLElement[] {
  if (!agreement) return [h("p", { class: "tl-caption" }, "Nothing is measured yet.")];
  // The truth agrees with itself.
  const itself = method.name === EXACT;
  const columns = COLUMNS.slice(itself ? 3 : 0);
  const heads = columns.map(([, title, hint]) => h("th", { scope: "col", title: hint }, title));
  const rows = SIDES.map((side) =>
    h(
      "tr",
      {},
      h("th", { scope: "row", class: "tl-side", "data-side": side }, side),
      ...columns.map(([field, , , text]) => {
        const value = agreement[side][field];
        const props = { "data-side": side, "data-field": field, "data-value": value };
        return h("td", props, value === null ? "–" : text(value, agreement[side]));
      }),
    ),
  );
  const what = itself ? "Exact occlusion" : `${method.title} against exact occlusion`;
  const title = `${what}: hiding one prompt token at a time, for this prompt and these models.`;
  return [h("p", { class: "tl-caption" }, title), table({}, [h("td"), ...heads], rows)];
}
