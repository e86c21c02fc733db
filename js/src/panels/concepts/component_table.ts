// All components of a layer in a table that can be sorted by every column.

import { SIDES } from "../../contract/contract.ts";
import type { ComponentColumn, ConceptsOptions } from "../../core/options.ts";
import type { Store } from "../../core/store.ts";
import { h, listen, table } from "../../draw/dom.ts";
import { ofBoth, percent } from "../../draw/format.ts";
import { meter } from "../../draw/meter.ts";
import { largest } from "../../maths/numbers.ts";
import type { Concepts, Sheet, UnitRow } from "./data.ts";
import { pickUnits } from "./unit_list.ts";

interface Row {
  component: number;
  name: string;
  doubt: string;
  variance: number;
  /** Variance of this component and all before it. */
  sum: number;
  match: number;
  matchVariance: number;
  angle: number;
  active: number;
  activations: UnitRow["activations"];
}

type Sort = ConceptsOptions["sort"];

const COLUMNS: readonly {
  key: ComponentColumn;
  title: string;
  help: string;
  falls: boolean;
}[] = [
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
  listen(el, "click", { signal }, (event) => {
    const target = event.target as HTMLElement;
    const heading = target.closest<HTMLElement>("[data-sort]");
    const column = COLUMNS.find(({ key }) => key === heading?.dataset.sort);
    if (column) {
      heading!.focus();
      const { by, falls } = store.options.concepts.sort;
      const sort = { by: column.key, falls: by === column.key ? !falls : column.falls };
      store.setOptions("concepts", { sort });
    }
    // Anywhere in a row is as good as its button.
    else if (!target.closest("button")) target.closest("tr")?.querySelector("button")?.click();
  });
  return {
    el,
    layered: true,
    needs: () => [],
    picture({ options }, _, concepts) {
      const { layer, unit } = concepts;
      const { sort } = options.concepts;
      const rows = rowsOf(concepts);
      return {
        title: `Components of layer ${layer}`,
        caption:
          "Principal directions of base's value vectors with their share of the variance, alone and summed up to each; the match in tuned is the one assigned so that all angles together are smallest.",
        draw() {
          const { scrollTop } = el;
          show(layer, unit, tableOf(rows, sort, concepts));
          el.scrollTop = scrollTop;
        },
      };
    },
  };
}

function rowsOf({ matched, components }: Concepts): Row[] {
  const units = new Map(components.map((row) => [row.unit, row]));
  let sum = 0;
  return matched.map(({ base, tuned, angle }, k) => {
    sum += base.explained;
    const { given, doubt, activations } = units.get(`component:${k}`)!;
    return {
      component: k,
      name: given,
      doubt,
      variance: base.explained,
      sum,
      match: tuned.index,
      matchVariance: tuned.explained,
      angle,
      active: Math.max(...SIDES.map((side) => Math.abs(activations?.[side] ?? 0))),
      activations,
    };
  });
}

function tableOf(rows: Row[], { by, falls }: Sort, concepts: Concepts): HTMLElement {
  const columns = COLUMNS.filter(
    ({ key }) =>
      (key !== "active" || rows.some((row) => row.activations)) &&
      (key !== "name" || rows.some((row) => row.name)),
  );
  const max = largest(rows.map((row) => row.active));
  const most = largest(rows.map((row) => row.variance));
  const sorted = [...rows].sort((a, b) => compare(a, b, by) * (falls ? -1 : 1));
  const direction = falls ? "descending" : "ascending";
  const head = columns.map(({ key, title, help }) =>
    h(
      "th",
      { scope: "col", "aria-sort": key === by ? direction : "none" },
      h("button", { type: "button", "data-sort": key, title: help }, title),
    ),
  );
  const body = sorted.map((row) =>
    h(
      "tr",
      { "data-shown": `component:${row.component}` === concepts.unit },
      ...columns.map(({ key }) => cell(row, key, concepts, most, max)),
    ),
  );
  return table({}, head, body);
}

function compare(a: Row, b: Row, by: ComponentColumn): number {
  if (by !== "name") return a[by] - b[by];
  // Those without a name come last.
  if (!a.name || !b.name) return (a.name ? 0 : 1) - (b.name ? 0 : 1);
  return a.name.localeCompare(b.name);
}

function cell(
  row: Row,
  key: ComponentColumn,
  concepts: Concepts,
  most: number,
  max: number,
): HTMLElement {
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
      const doubt = row.doubt && h("span", { class: "tl-unit-doubt tl-quiet" }, row.doubt);
      return h("th", { scope: "row" }, button, doubt);
    }
    case "name":
      return h("td", { class: "tl-cell-name tl-cut" }, h("bdi", {}, row.name));
    case "variance": {
      const style = `width: ${most > 0 ? (row.variance / most) * 4 : 0}em`;
      const bar = { class: "tl-share", "data-side": "base", "data-value": row.variance, style };
      return h("td", {}, h("i", bar), percent(row.variance));
    }
    case "sum":
      return h("td", { "data-value": row.sum }, percent(row.sum));
    case "match":
      return h("td", {}, `${row.match} · ${percent(row.matchVariance)}`);
    case "angle":
      return h("td", { "data-value": row.angle }, `${row.angle.toFixed(row.angle < 10 ? 1 : 0)}°`);
    case "active": {
      if (!row.activations) return h("td", {});
      const label = ofBoth(row.activations);
      const bars = meter(row.activations, max);
      bars.setAttribute("role", "img");
      bars.setAttribute("aria-label", label);
      bars.title = label;
      return h("td", {}, bars);
    }
  }
}
