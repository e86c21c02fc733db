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

/** How steep the names of columns are. */
const SLANT = Math.PI / 3;

/** Of rows, or of columns, whose names are slanted. */
export function axisLabels(name: string, slanted: boolean): Labels {
  const el = h("div", { class: name, "aria-hidden": "true" });
  // Turned all together: a browser keeps a layer for each thing that is turned by itself.
  const place = slanted ? h("div", { class: "tl-slanted" }) : el;
  if (slanted) {
    place.style.transform = `rotate(${-SLANT}rad)`;
    el.append(place);
  }
  let drawn: Axis | null = null;
  let named = new Map<number, HTMLElement>();
  let chosen = -1;
  let pointed: HTMLElement | null = null;
  const label = ({ positions, texts, size }: Axis, index: number) => {
    const { word } = tokenText(texts[index]!);
    const made = h("span", { "data-position": positions[index] }, h("bdi", {}, word));
    const at = (index + 0.5) * size;
    if (slanted) made.style.right = `${-at * Math.cos(SLANT)}px`;
    made.style.top = `${slanted ? at * Math.sin(SLANT) : at}px`;
    return made;
  };
  return {
    el,
    draw(axis) {
      drawn = axis;
      pointed = null;
      chosen = -1;
      const shown = axis.positions.map((_, i) => i).filter((i) => i % axis.every === 0);
      named = new Map(shown.map((i) => [i, label(axis, i)]));
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
      const now = named.get(chosen) ?? label(drawn, chosen);
      now.dataset.chosen = "";
      if (!now.isConnected) place.append(now);
      named.set(chosen, now);
    },
    point(index) {
      pointed?.remove();
      pointed = null;
      if (index === undefined || !drawn || index >= drawn.positions.length) return;
      pointed = label(drawn, index);
      pointed.dataset.hover = "";
      place.append(pointed);
    },
  };
}
