// Names of rows or columns: as many as there is room for, those chosen, and the one pointed at.

import { h } from "../../draw/dom.ts";
import { tokenText } from "../../draw/format.ts";

/** The tokens along one edge of a matrix. */
export interface Axis {
  /** Positions of the tokens, and their texts. */
  positions: readonly number[];
  texts: readonly string[];
  /** Of a cell, in CSS pixels. */
  size: number;
  /** Every how many of them there is room for a name. */
  every: number;
}

export interface Labels {
  el: HTMLElement;
  draw(axis: Axis): void;
  /** Name the one that is selected; none for -1. */
  choose(index: number): void;
  /** Name one more, in front of the others. */
  point(index: number | undefined): void;
}

/** Names of more letters may have to be cut. */
const SHORT = 6;

/** Of rows, or of columns, whose names are slanted. */
export function axisLabels(name: string, slanted: boolean): Labels {
  const el = h("div", { class: name, "aria-hidden": "true" });
  // Turned all together: a browser keeps a layer for each thing that is turned by itself.
  const place = slanted ? h("div", { class: "tl-slanted" }) : el;
  if (slanted) el.append(place);
  let drawn: Axis | null = null;
  let named = new Map<number, HTMLElement>();
  let chosen = -1;
  let pointed: HTMLElement | null = null;
  /** In line, or over the others: each in a place of its own would be a layer of its own. */
  const label = ({ positions, texts, size }: Axis, index: number, over = false) => {
    const { word } = tokenText(texts[index]!);
    const long = [...word].length > SHORT;
    const marks = { "data-position": positions[index], "data-long": long, "data-over": over };
    return h("span", { ...marks, style: `--at: ${(index + 0.5) * size}px` }, h("bdi", {}, word));
  };
  return {
    el,
    draw(axis) {
      drawn = axis;
      pointed = null;
      chosen = -1;
      const shown = axis.positions.map((_, i) => i).filter((i) => i % axis.every === 0);
      named = new Map(shown.map((i) => [i, label(axis, i)]));
      place.style.setProperty("--size", `${axis.size}px`);
      place.style.setProperty("--step", `${axis.size * axis.every}px`);
      place.replaceChildren(...named.values());
    },
    choose(index) {
      if (!drawn || index === chosen) return;
      const before = named.get(chosen);
      before?.removeAttribute("data-chosen");
      if (chosen % drawn.every !== 0) {
        before?.remove();
        named.delete(chosen);
      }
      chosen = index < drawn.positions.length ? index : -1;
      if (chosen < 0) return;
      const now = named.get(chosen) ?? label(drawn, chosen, true);
      now.dataset.chosen = "";
      if (!now.isConnected) place.append(now);
      named.set(chosen, now);
    },
    point(index) {
      pointed?.remove();
      pointed = null;
      if (index === undefined || !drawn || index >= drawn.positions.length) return;
      pointed = label(drawn, index, true);
      pointed.dataset.hover = "";
      place.append(pointed);
    },
  };
}
