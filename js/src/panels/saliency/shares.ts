// Where in the prompt the effect comes from: shares of its parts, as compare.effect_shares.

import { type BySide, type Segment, SIDES, type Side } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";
import { h } from "../../draw/dom.ts";
import { percent } from "../../draw/format.ts";
import { eachSide } from "../../maths/numbers.ts";
import { columnsOf } from "./focus.ts";
import type { Table } from "./table.ts";

export const PARTS = ["instruction", "context", "template", "rest"] as const;
export type Part = (typeof PARTS)[number];
export type Share = Record<Part, number>;

export interface Shares {
  /** Over the selected answer tokens; null without a positive effect. */
  overall: BySide<Share | null>;
  /** For each answer token. */
  along: BySide<(Share | null)[]>;
  /** Whether anything is marked as instruction or context. */
  marked: boolean;
  exact: boolean;
}

const partOf = (segment: Segment): Part =>
  segment === "instruction" || segment === "context"
    ? segment
    : segment === "other"
      ? "rest"
      : "template";

/**
 * Shares of the positive effect, of the answer tokens whose effects are at hand. `groups` are
 * prompt positions that have one effect together; null where every token has its own.
 */
export function sharesOf(
  state: State,
  tables: BySide<Table | null>,
  groups: number[][] | null,
): Shares | null {
  if (!SIDES.some((side) => tables[side])) return null;
  const parts = state.segments.map(partOf);
  const weight = new Float64Array(parts.length).fill(1);
  for (const group of groups ?? []) for (const n of group) weight[n] = 1 / group.length;
  const sums = (side: Side, columns: readonly number[]): Share | null => {
    const table = tables[side];
    if (!table) return null;
    const share: Share = { instruction: 0, context: 0, template: 0, rest: 0 };
    let total = 0;
    for (const m of columns) {
      for (const [n, part] of parts.entries()) {
        const effect = table.effects[n * table.width + table.place(m)]!;
        const value = effect > 0 ? effect * weight[n]! : 0;
        share[part] += value;
        total += value;
      }
    }
    if (total === 0) return null;
    for (const part of PARTS) share[part] /= total;
    return share;
  };
  return {
    overall: eachSide((side) => sums(side, columnsOf(state, side))),
    along: eachSide((side) => {
      const all = state.answer(side).tokens.map((_, m) => m);
      const single = tables[side]?.width !== all.length;
      const known = single ? columnsOf(state, side) : all;
      return all.map((m) => (known.includes(m) ? sums(side, [m]) : null));
    }),
    marked: parts.includes("instruction") || parts.includes("context"),
    exact: SIDES.every((side) => tables[side]?.exact.every(Boolean) ?? true),
  };
}

/** Whether the instruction is all there is beside the template. */
export function coversAll(state: State): boolean {
  const inside = new Set(state.segments.map(partOf).filter((part) => part !== "template"));
  return inside.size === 1 && inside.has("instruction");
}

/** Both models' shares as one bar each, with their numbers. */
export function sharesChart() {
  const el = h("div", { class: "tl-shares", role: "group", "aria-label": "where the effect is" });
  return {
    el,
    draw(state: State, shares: Shares | null) {
      el.hidden = shares === null || !shares.marked;
      if (!shares || el.hidden) return el.replaceChildren();
      const used = PARTS.filter((part) =>
        state.segments.some((segment) => partOf(segment) === part),
      );
      el.style.setProperty("--tl-parts", String(used.length));
      el.replaceChildren(
        h("span", { class: "tl-shares-title" }, "share of the positive effect"),
        h("span", {}),
        ...used.map((part) =>
          h("span", { class: "tl-share-name" }, swatch(part, "both"), ` ${part}`),
        ),
        ...SIDES.flatMap((side) => line(side, shares, used)),
      );
    },
  };
}

function line(side: Side, shares: Shares, used: readonly Part[]): HTMLElement[] {
  const share = shares.overall[side];
  const bar = h("span", { class: "tl-share-bar", "data-look": shares.exact ? null : "estimate" });
  if (share) {
    for (const part of used) {
      const style = `flex-grow: ${share[part]}`;
      bar.append(swatch(part, side, { style, hidden: share[part] === 0 }));
    }
  }
  return [
    h("span", { class: "tl-side", "data-side": side }, side),
    bar,
    ...used.map((part) =>
      h(
        "span",
        {
          class: "tl-share-value",
          "data-share": part,
          "data-side": side,
          "data-value": share?.[part],
        },
        share ? percent(share[part]) : "–",
      ),
    ),
  ];
}

/** A piece of a bar, or its key; the parts of one model are shades of its colour. */
function swatch(part: Part, side: Side | "both", more = {}): HTMLElement {
  return h("i", { class: "tl-part", "data-part": part, "data-side": side, ...more });
}

/** One answer token's shares, base beside tuned, the instruction at the bottom. */
export function stack(along: BySide<Share | null>, shown: readonly Side[]): HTMLElement {
  return h(
    "span",
    { class: "tl-stack" },
    ...shown.map((side) => {
      const pieces = Object.entries(along[side] ?? {}).map(([part, share]) => {
        const style = `height: ${(share * 100).toFixed(2)}%`;
        return swatch(part as Part, side, { style, "data-value": share });
      });
      return h("span", { class: "tl-stack-side", "data-side": side }, ...pieces);
    }),
  );
}

/** A line for the tooltip of an answer token. */
export function shareText(along: BySide<Share | null>, shown: readonly Side[]): string {
  const parts = shown.flatMap((side) => {
    const share = along[side];
    return share ? [`${side} ${percent(share.instruction)}`] : [];
  });
  return parts.length ? `effect from the instruction: ${parts.join(", ")}` : "";
}
