// Numbers of both models as two thin bars from the middle: right positive, left negative.

import { type BySide, SIDES, type Side } from "../contract/contract.ts";
import { h } from "./dom.ts";

/** An estimate is hatched, what was measured is solid. */
type Look = "hatched" | "solid";

/** Base above tuned; what is not known has no bar. */
export function meter(
  values: BySide<number | undefined>,
  max: number,
  look: Look = "solid",
): HTMLElement {
  return h("span", { class: "tl-meter" }, ...SIDES.map((side) => needle(side, values, max, look)));
}

function needle(
  side: Side,
  values: BySide<number | undefined>,
  max: number,
  look: Look,
): HTMLElement | null {
  const value = values[side];
  if (value === undefined) return null;
  const share = max > 0 ? Math.abs(value) / max : 0;
  const style = `width: ${share * 50}%; left: ${value < 0 ? 50 - share * 50 : 50}%`;
  const said = { "data-side": side, "data-value": value, "data-look": look };
  return h("i", { class: "tl-needle", ...said, style });
}
