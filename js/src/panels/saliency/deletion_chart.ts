// Deletion curves: what the answer loses as prompt tokens are hidden, by a method's ranking.

import { type BySide, type DeletionCurve, SIDES, type Side } from "../../contract/contract.ts";
import { h, svg } from "../../draw/dom.ts";
import { number } from "../../draw/format.ts";
import type { Surface } from "../../draw/theme.ts";
import { largest } from "../../maths/numbers.ts";

const WIDTH = 280;
const HEIGHT = 130;

/** Both models side by side on one scale: most important first solid, least important first dashed. */
export function deletionChart(curves: BySide<DeletionCurve>, { scale }: Surface): HTMLElement {
  const all = SIDES.flatMap((side) => [curves[side].most, curves[side].least]);
  const top = Math.max(largest(...all), 1e-9);
  const low = Math.min(0, ...all.flat());
  return h(
    "div",
    { class: "tl-flow tl-deletion", role: "group", "aria-label": "deletion curves" },
    ...SIDES.map((side) => picture(side, curves[side], low, top, scale)),
    h(
      "p",
      { class: "tl-caption" },
      "Nats of the whole answer lost as prompt tokens are hidden, those first that matter most " +
        "(solid) or least (dashed) by this method. The wider the two are apart, the better its ranking.",
    ),
  );
}

function picture(
  side: Side,
  curve: DeletionCurve,
  low: number,
  top: number,
  scale: number,
): HTMLElement {
  const x = (share: number) => share * WIDTH;
  const y = (loss: number) => HEIGHT - ((loss - low) / (top - low)) * HEIGHT;
  const path = (name: "most" | "least") => {
    const points = curve[name].map((loss, i) => `${x(curve.share[i]!)},${y(loss)}`);
    return svg("polyline", { points: points.join(" "), class: `tl-curve tl-curve-${name}` });
  };
  const zero = svg("line", { x1: 0, x2: WIDTH, y1: y(0), y2: y(0), class: "tl-curve-zero" });
  const image = svg(
    "svg",
    {
      viewBox: `0 -4 ${WIDTH} ${HEIGHT + 8}`,
      width: WIDTH * scale,
      role: "img",
      "aria-label": `${side}: ${summary(curve)}`,
    },
    zero,
    path("least"),
    path("most"),
  );
  return h(
    "figure",
    { class: "tl-curve-figure", "data-side": side, "data-value": top },
    h(
      "figcaption",
      {},
      h("span", { class: "tl-side", "data-side": side }, side),
      ` ${summary(curve)}`,
    ),
    h(
      "div",
      { class: "tl-curve-plot" },
      h("span", { class: "tl-curve-top tl-quiet" }, `${number(top)} nats`),
      image,
    ),
    h("div", { class: "tl-scale tl-quiet tl-curve-axis" }, "0 %", h("span", {}, "hidden"), "100 %"),
  );
}

/** Mean height of a curve. */
function mean(losses: number[]): number {
  return losses.reduce((sum, loss) => sum + loss, 0) / (losses.length || 1);
}

function summary(curve: DeletionCurve): string {
  return `on average ${number(mean(curve.most))} nats lost, against ${number(mean(curve.least))}`;
}
