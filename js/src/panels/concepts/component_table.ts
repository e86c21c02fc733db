// All components of a layer in a table that can be sorted by every column.

import { SIDES } from "../../contract/contract.ts";
import type { Store } from "../../core/store.ts";
import { h } from "../../draw/dom.ts";
import { number, percent } from "../../draw/format.ts";
import { meter } from "../../draw/meter.ts";
import { largest } from "../../maths/numbers.ts";
import { type Concepts, labelOf } from "./data.ts";
import type { Sheet } from "./sheet.ts";
import { pickUnits } from "./unit_list.ts";

interface Row {
  component: number;
  name: string;
  variance: number;
  /** Variance of this component and all before it. */
  sum: number;
  match: number;
  matchVariance: number;
  angle: number;
  active: number;
  activations: { base: number | undefined; tuned: number | undefined } | null;
}

type Key = "component" | "name" | "variance" | "sum" | "match" | "angle" | "active";

const COLUMNS: readonly { key: Key; title: string; help: string; falls: boolean }[] = [
  { key: "component", title: "concept", help: "number in base, by variance", falls: false },
  { key: "name", title: "name", help: "given by hand or by an annotator", falls: false },
  { key: "variance", title: "variance", help: "share in base", falls: true },
  { key: "sum", title: "up to it", help: "share of it and all before it", falls: false },
  { key: "match", title: "match", help: "number and share in tuned", falls: false },
  { key: "angle", title: "angle", help: "between the two", falls: true },
  { key: "active", title: "activation", help: "at the token, base above tuned", falls: true },
];

export function componentTable(store: Store, signal: AbortSignal): Sheet {
  const el = h("div", { class: "tl-components", role: "region", "aria-label": "components" });
  const show = pickUnits(el, store, signal);
  let by: Key = "component";
  let falls = false;
  let draw = () => {};
  const sortBy = (key: Key) => {
    falls = key === by ? !falls : COLUMNS.find((column) => column.key === key)!.falls;
    by = key;
    draw();
    el.querySelector<HTMLElement>(`[data-sort="${key}"]`)?.focus();
  };
  el.addEventListener(
    "click",
    (event) => {
      const target = event.target as HTMLElement;
      const key = target.closest<HTMLElement>("[data-sort]")?.dataset.sort;
      if (key) sortBy(key as Key);
      // Anywhere in a row is as good as its button.
      else if (!target.closest("button")) target.closest("tr")?.querySelector("button")?.click();
    },
    { signal },
  );
  return {
    el,
    layered: true,
    async load(_, concepts) {
      const rows = rowsOf(store, concepts);
      draw = () => {
        const columns = COLUMNS.filter(
          ({ key }) =>
            (key !== "active" || rows.some((row) => row.activations)) &&
            (key !== "name" || rows.some((row) => row.name)),
        );
        const max = largest(rows.map((row) => row.active));
        const most = largest(rows.map((row) => row.variance));
        const sorted = [...rows].sort((a, b) => compare(a, b, by) * (falls ? -1 : 1));
        const head = columns.map((column) =>
          h(
            "th",
            { scope: "col", "aria-sort": sortOf(column.key, by, falls) },
            h(
              "button",
              { type: "button", "data-sort": column.key, title: column.help },
              column.title,
            ),
          ),
        );
        const body = sorted.map((row) => {
          const unit = `component:${row.component}`;
          const shown = unit === concepts.unit;
          const cells = columns.map(({ key }) => cell(row, key, concepts, most, max));
          return h("tr", { "data-shown": shown }, ...cells);
        });
        const { scrollTop } = el;
        show(
          concepts.layer,
          concepts.unit,
          h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...body)),
        );
        el.scrollTop = scrollTop;
      };
      return {
        title: `Components of layer ${concepts.layer}`,
        caption:
          "Principal directions of base's value vectors with their share of the variance, alone and summed up to each; the match in tuned is the one assigned so that all angles together are smallest.",
        draw: () => draw(),
      };
    },
  };
}

function rowsOf(store: Store, concepts: Concepts): Row[] {
  const activations = new Map(concepts.components.map((row) => [row.unit, row.activations]));
  let sum = 0;
  return concepts.matched.map((component, k) => {
    sum += component.base.explained;
    const active = activations.get(`component:${k}`) ?? null;
    return {
      component: k,
      name: labelOf(store, concepts.layer, k, component).name,
      variance: component.base.explained,
      sum,
      match: component.tuned.index,
      matchVariance: component.tuned.explained,
      angle: component.angle,
      active: Math.max(...SIDES.map((side) => Math.abs(active?.[side] ?? 0))),
      activations: active,
    };
  });
}

function compare(a: Row, b: Row, by: Key): number {
  if (by !== "name") return a[by] - b[by];
  // Those without a name come last.
  if (!a.name || !b.name) return (a.name ? 0 : 1) - (b.name ? 0 : 1);
  return a.name.localeCompare(b.name);
}

function sortOf(key: Key, by: Key, falls: boolean): string {
  if (key !== by) return "none";
  return falls ? "descending" : "ascending";
}

function cell(row: Row, key: Key, concepts: Concepts, most: number, max: number): HTMLElement {
  switch (key) {
    case "component": {
      const unit = `component:${row.component}`;
      const name = row.name ? `concept ${row.component}, ${row.name}` : `concept ${row.component}`;
      const button = h(
        "button",
        {
          type: "button",
          class: "tl-unit",
          "data-unit": unit,
          "data-shown": unit === concepts.unit,
          "aria-pressed": String(unit === concepts.unit && concepts.chosen),
          "aria-label": name,
        },
        `concept ${row.component}`,
      );
      return h("th", { scope: "row" }, button);
    }
    case "name":
      return h("td", { class: "tl-cell-name" }, h("bdi", {}, row.name));
    case "variance": {
      const bar = h("i", { class: "tl-share", "data-side": "base", "data-value": row.variance });
      bar.style.width = `${most > 0 ? (row.variance / most) * 4 : 0}em`;
      return h("td", {}, bar, percent(row.variance));
    }
    case "sum":
      return h("td", { "data-value": row.sum }, percent(row.sum));
    case "match":
      return h("td", {}, `${row.match} · ${percent(row.matchVariance)}`);
    case "angle":
      return h("td", { "data-value": row.angle }, `${row.angle.toFixed(row.angle < 10 ? 1 : 0)}°`);
    case "active": {
      if (!row.activations) return h("td", {});
      const { base, tuned } = row.activations;
      const label = `base ${number(base ?? Number.NaN)}, tuned ${number(tuned ?? Number.NaN)}`;
      const bars = meter(row.activations, max);
      bars.setAttribute("role", "img");
      bars.setAttribute("aria-label", label);
      bars.title = label;
      return h("td", {}, bars);
    }
  }
}
