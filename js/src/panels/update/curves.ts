// Small curves: what sets of directions keep, and the answer as the update is turned up and down.

import type { KeptCurve, UpdateDial, UpdateTaken } from "../../contract/contract.ts";
import { h, svg } from "../../draw/dom.ts";
import { number, percent, quote } from "../../draw/format.ts";

const WIDTH = 300;
const HEIGHT = 130;
/** What orders are called. */
const NAMES: Record<string, string> = {
  effect: "by effect",
  size: "by size",
  "first order": "by first order",
  random: "at random",
};
/** Shares of the directions that are named below the curves. */
const TICKS = [0.001, 0.01, 0.1, 1];
/** Share of the width left of the smallest share of directions, where none are kept. */
const NONE = 0.06;

/** Share of the shift kept over the share of directions kept, one curve for each order. */
export function keptChart(taken: UpdateTaken): HTMLElement {
  const all = taken.curves.flatMap((curve) => curve.kept);
  const low = Math.min(0, ...all);
  const high = Math.max(1, ...all);
  const fewest = Math.min(...taken.curves.flatMap((c) => c.counts.filter((n) => n > 0)));
  const decades = Math.log10(taken.count / fewest) || 1;
  const x = (n: number) =>
    n === 0 ? 0 : (NONE + (1 - NONE) * (1 - Math.log10(taken.count / n) / decades)) * WIDTH;
  const y = (share: number) => (1 - (share - low) / (high - low)) * HEIGHT;
  const line = ({ order, counts, kept }: KeptCurve) =>
    polyline(
      counts.map((n, i) => [x(n), y(kept[i]!)]),
      { class: "tl-kept-line", "data-order": order },
    );
  const summary = taken.curves.map((c) => `${nameOf(c)} ${c.needed}`).join(", ");
  const plot = h(
    "div",
    { class: "tl-kept-plot" },
    svg(
      "svg",
      {
        viewBox: `0 -3 ${WIDTH} ${HEIGHT + 6}`,
        role: "img",
        "aria-label": `directions that keep ${percent(taken.goal)} of the shift: ${summary}`,
      },
      level(y(taken.goal), "tl-kept-goal"),
      level(y(0), "tl-kept-zero"),
      ...[...taken.curves].reverse().map(line),
    ),
  );
  const named = TICKS.filter((tick) => tick * taken.count >= fewest);
  const ticks = tickRow(named.map((share) => [x(share * taken.count), percent(share)]));
  const legend = h(
    "ul",
    { class: "tl-flow tl-kept-legend tl-quiet" },
    ...taken.curves.map((curve) => {
      const text = `${nameOf(curve)} ${curve.needed.toLocaleString("en")}`;
      return h("li", { "data-order": curve.order, "data-value": curve.needed }, h("i"), text);
    }),
  );
  const title = `Directions that keep ${percent(taken.goal)} of the shift, of ${taken.count.toLocaleString("en")}`;
  return h(
    "figure",
    { class: "tl-update-chart" },
    h("figcaption", { class: "tl-quiet" }, title),
    legend,
    plot,
    ticks,
  );
}

export interface Dial {
  el: HTMLElement;
  /** Move it to a place, unless a hand is on it. */
  show(scale: number): void;
}

/**
 * The answer's log-probability with the update times a scale, which a slider moves along; `part`
 * says where it is turned, if not everywhere, `turned` is told each place, `follows` says what else
 * shows it, and `choice` stands in front.
 */
export function dialChart(
  { dial, dial_answers: answers }: UpdateDial,
  part: string,
  turned: (scale: number) => void,
  follows: string,
  choice: HTMLElement,
): Dial {
  const nats = dial.map(([, value]) => value);
  const [low, high] = [Math.min(...nats), Math.max(...nats)];
  const most = Math.max(...dial.map(([scale]) => scale)) || 1;
  const x = (scale: number) => (scale / most) * WIDTH;
  const y = (value: number) => (1 - (value - low) / (high - low || 1)) * HEIGHT * 0.6;
  const now = svg("circle", { r: 5, class: "tl-dial-now" });
  const said = h("output", { class: "tl-dial-said" });
  const back = h("button", { type: "button", class: "tl-button" }, "back to × 1");
  const slider = h("input", {
    ...{ type: "range", class: "tl-dial", min: "0", max: String(dial.length - 1), step: "1" },
    "aria-label": "scale of the update",
  });
  const paint = () => {
    const [scale, value] = dial[Number(slider.value)]!;
    const answer = answers?.[Number(slider.value)]; // older recordings have none
    now.setAttribute("cx", String(x(scale)));
    now.setAttribute("cy", String(y(value)));
    const says = answer === undefined ? "" : `, answers ${quote(answer.trim(), 80)}`;
    said.textContent = `× ${scale}: ${number(value)} nats${says}`;
    back.hidden = scale === 1;
    slider.setAttribute("aria-valuetext", said.textContent);
  };
  const show = (scale: number) => {
    const apart = dial.map(([place]) => Math.abs(place - scale));
    slider.value = String(apart.indexOf(Math.min(...apart)));
    paint();
  };
  let held = false; // its place is not yet that of the other panels
  const turn = () => {
    held = true;
    paint();
    turned(dial[Number(slider.value)]![0]);
  };
  slider.addEventListener("input", turn);
  back.addEventListener("click", () => {
    show(1);
    turn();
  });
  show(1);
  const plot = h(
    "div",
    { class: "tl-kept-plot" },
    svg(
      "svg",
      {
        viewBox: `-4 -5 ${WIDTH + 8} ${HEIGHT * 0.6 + 10}`,
        role: "img",
        "aria-label": dial.map(([scale, value]) => `${scale}: ${number(value)} nats`).join(", "),
      },
      polyline(
        dial.map(([scale, value]) => [x(scale), y(value)]),
        { class: "tl-kept-line", "data-order": "effect" },
      ),
      ...dial
        .filter(([scale]) => scale === 1 || (scale === 0 && !part))
        .map(([scale, value]) =>
          svg("circle", {
            ...{ cx: x(scale), cy: y(value), r: 3.5, class: "tl-dial-end" },
            "data-side": scale ? "tuned" : "base",
          }),
        ),
      now,
    ),
    slider,
  );
  const none = part ? "without it" : "base";
  const ticks = tickRow([
    [x(0), none],
    [x(1), "tuned"],
    [x(most), most === 1 ? "tuned" : `× ${most}`],
  ]);
  const title = `Log-probability of the answer, ${number(low)} to ${number(high)} nats, by scale of the update${part && ` ${part}`}`;
  const note = h("p", { class: "tl-dial-follows tl-quiet" }, follows);
  const foot = h("div", { class: "tl-flow tl-dial-foot" }, said, back);
  return {
    el: h(
      "figure",
      { class: "tl-update-chart" },
      h("figcaption", { class: "tl-quiet" }, title),
      choice,
      plot,
      ticks,
      foot,
      note,
    ),
    show(scale) {
      if (held && dial[Number(slider.value)]![0] !== scale) return;
      held = false;
      show(scale);
    },
  };
}

/** What an order is called. */
export function nameOf({ order }: KeptCurve): string {
  return NAMES[order] ?? order;
}

/** Names below a curve, each at its place across. */
function tickRow(ticks: [number, string][]): HTMLElement {
  const spans = ticks.map(([x, name]) =>
    h("span", { style: `left: ${((x / WIDTH) * 100).toFixed(1)}%` }, name),
  );
  return h("div", { class: "tl-kept-ticks tl-quiet", "aria-hidden": "true" }, ...spans);
}

function level(at: number, name: string): Element {
  return svg("line", { x1: 0, x2: WIDTH, y1: at, y2: at, class: name });
}

function polyline(points: [number, number][], props: Record<string, string>): Element {
  return svg("polyline", { points: points.map((point) => point.join()).join(" "), ...props });
}
