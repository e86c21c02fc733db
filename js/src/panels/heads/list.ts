// All heads in one list, sorted by the shown measure.

import { SIDES, type Side } from "../../contract/contract.ts";
import type { HeadColumn } from "../../core/options.ts";
import type { Selection } from "../../core/selection.ts";
import { button, h } from "../../draw/dom.ts";
import { number, signed } from "../../draw/format.ts";
import { windowList } from "../../draw/window_list.ts";
import { largest, type Numbers } from "../../maths/numbers.ts";
import type { Setting } from "../../shell/frame.ts";
import type { HeadNumbers } from "./data.ts";
import { linesOf } from "./grid.ts";
import { COLUMNS, headAt } from "./measures.ts";

/** Heads, the one with the largest size first; those without a number last, in their order. */
export function sorted(values: Numbers): number[] {
  const size = (i: number) => (Number.isNaN(values[i]!) ? -1 : Math.abs(values[i]!));
  return Array.from({ length: values.length }, (_, i) => i).sort((a, b) => size(b) - size(a));
}

export function headList({ store, signal }: Setting) {
  const { heads } = store.manifest.pair;
  let order: number[] = [];
  const list = windowList("heads, sorted", signal, (row) =>
    store.select(headAt(order[row]!, heads)),
  );
  const sorters = COLUMNS.map((sort) =>
    button("", () => store.setOptions("heads", { sort }), signal, {
      class: "tl-sorter",
      "data-sort": sort,
    }),
  );
  const header = h("div", { class: "tl-list-head" }, h("span", {}, "layer · head"), ...sorters);
  const el = h("div", { class: "tl-head-list" }, header, list.el);

  const draw = (
    numbers: HeadNumbers,
    { layer, head }: Selection,
    wanted: HeadColumn,
    served: readonly number[],
  ) => {
    const { values, thirdIs } = numbers;
    const { third } = values;
    // A measure of both models together has no column for each.
    const filled = COLUMNS.filter((name) => Array.from(values[name]).some(Number.isFinite));
    const column = filled.includes(wanted) ? wanted : (filled[0] ?? wanted);
    order = sorted(values[column]);
    const max = largest(values.base, values.tuned);
    const thirdMax = largest(third);
    const look = numbers.measure === "effect" ? "hatched" : "solid";
    for (const [i, name] of COLUMNS.entries()) {
      const text = name === "third" ? thirdIs : name;
      sorters[i]!.textContent = name === column ? `${text} ↓` : text;
      sorters[i]!.setAttribute("aria-pressed", String(name === column));
      sorters[i]!.disabled = !filled.includes(name);
      sorters[i]!.setAttribute("aria-label", `sort by ${text}`);
    }
    list.draw({
      count: order.length,
      chosen: head < 0 ? -1 : order.indexOf(layer * heads + head),
      mark: (row) => nameOf(order[row]!, heads),
      label: (row) => `${spoken(order[row]!, heads)}: ${linesOf(numbers, order[row]!).join(", ")}`,
      cells(row) {
        const i = order[row]!;
        const sided = thirdIs === "tuned − base";
        return [
          h(
            "span",
            { class: "tl-list-name", "data-served": served.includes(i) },
            nameOf(i, heads, " · "),
          ),
          ...SIDES.map((side) => cell(values[side][i]!, max, side, look, number)),
          sided
            ? cell(third[i]!, thirdMax, third[i]! < 0 ? "base" : "tuned", look, signed)
            : cell(third[i]!, thirdMax, "both", look, number),
        ];
      },
    });
  };
  return { el, draw };
}

export function nameOf(index: number, heads: number, between = "/"): string {
  const { layer, head } = headAt(index, heads);
  return `${layer}${between}${head}`;
}

export function spoken(index: number, heads: number): string {
  const { layer, head } = headAt(index, heads);
  return `layer ${layer}, head ${head}`;
}

/** A number over a bar of its size. */
function cell(
  value: number,
  max: number,
  side: Side | "both",
  look: string,
  format: (value: number) => string,
): HTMLElement {
  const style = `width: ${max > 0 ? (100 * Math.abs(value || 0)) / max : 0}%`;
  return h(
    "span",
    { class: "tl-list-cell", "data-value": value },
    h("span", {}, format(value)),
    h("i", { class: "tl-cell-bar", "data-side": side, "data-look": look, style }),
  );
}
