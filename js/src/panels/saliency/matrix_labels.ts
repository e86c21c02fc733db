// Names of rows or columns: as many as there is room for, those chosen, and the one pointed at.

import { fill, h } from "../../draw/dom.ts";
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
  /** Index of the one that is selected; -1 for none. */
  selected: number;
}

export interface Labels {
  el: HTMLElement;
  draw(axis: Axis): void;
  /** Name one more, in front of the others. */
  point(index: number | undefined): void;
}

export function axisLabels(name: string, edge: "top" | "left"): Labels {
  const el = h("div", { class: name, "aria-hidden": "true" });
  let drawn: Axis | null = null;
  let painted = "";
  let pointed: HTMLElement | null = null;
  const label = ({ positions, texts, size }: Axis, index: number) => {
    const { word } = tokenText(texts[index]!);
    const made = h("span", { "data-position": positions[index] }, h("bdi", {}, word));
    made.style[edge] = `${(index + 0.5) * size}px`;
    return made;
  };
  return {
    el,
    draw(axis) {
      const now = JSON.stringify(axis);
      if (now === painted) return;
      painted = now;
      drawn = axis;
      pointed?.remove();
      pointed = null;
      const { every, selected } = axis;
      const shown = axis.positions
        .map((_, i) => i)
        .filter((i) => i % every === 0 || i === selected);
      fill(
        el,
        ...shown.map((i) => {
          const made = label(axis, i);
          made.toggleAttribute("data-chosen", i === selected);
          return made;
        }),
      );
    },
    point(index) {
      pointed?.remove();
      pointed = null;
      if (index === undefined || !drawn || index >= drawn.positions.length) return;
      pointed = label(drawn, index);
      pointed.dataset.hover = "";
      el.append(pointed);
    },
  };
}
