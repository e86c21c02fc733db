// Settings of levels and densities, and of what is left out of the pictures.

import type { SaliencyOptions } from "../../core/options.ts";
import type { Store } from "../../core/store.ts";
import { h } from "../../draw/dom.ts";

interface Settings {
  el: HTMLElement;
  draw(): void;
}

/** A setting's place in the options. */
interface Place<T> {
  of(options: SaliencyOptions): T;
  put(value: T, options: SaliencyOptions): Partial<SaliencyOptions>;
}

type Density = SaliencyOptions["density"];
type Named<Options, T> = { [K in keyof Options]: Options[K] extends T ? K : never }[keyof Options];

const own = <T>(name: Named<SaliencyOptions, T>): Place<T> => ({
  of: (options) => options[name] as T,
  put: (value) => ({ [name]: value }),
});
const inDensity = <T>(name: Named<Density, T>): Place<T> => ({
  of: ({ density }) => density[name] as T,
  put: (value, { density }) => ({ density: { ...density, [name]: value } }),
});

const NUMBERS: [label: string, min: number, place: Place<number>][] = [
  ["L, number of levels", 1, inDensity("levels")],
  ["b, levels not above it count as 0 (density)", 0, inDensity("threshold")],
  ["b for pictures of levels", 0, own("pictureThreshold")],
  ["p of the density", 1, inDensity("norm")],
];
const MAX = 100;

const SWITCHES: [label: string, place: Place<boolean>][] = [
  ["divide densities by the prompt's maximum, as published", inDensity("relative")],
  ["set the first token aside in attention", own("setSinkAside")],
  ["collapse template tokens", own("hideTemplate")],
];

export function settings(store: Store, signal: AbortSignal): Settings {
  const put = <T>(place: Place<T>, value: T) =>
    store.setOptions("saliency", place.put(value, store.options.saliency));
  const numbers = NUMBERS.map(([label, min, place]) => {
    const input = h("input", { type: "number", min, max: MAX, step: 1 });
    let shown = Number.NaN;
    const change = () => {
      const value = Math.min(Math.max(Number(input.value) || min, min), MAX);
      input.value = String(value);
      put(place, value);
    };
    input.addEventListener("change", change, { signal });
    const draw = () => {
      const value = place.of(store.options.saliency);
      if (value !== shown) input.value = String(value); // what is being typed stays
      shown = value;
    };
    return { el: h("label", {}, input, label), draw };
  });
  const switches = SWITCHES.map(([label, place]) => {
    const input = h("input", { type: "checkbox" });
    input.addEventListener("change", () => put(place, input.checked), { signal });
    const draw = () => {
      input.checked = place.of(store.options.saliency);
    };
    return { el: h("label", {}, input, label), draw };
  });
  const parts = [...numbers, ...switches];
  return {
    el: h(
      "details",
      { class: "tl-settings" },
      h("summary", { class: "tl-button" }, "settings"),
      h("div", { class: "tl-sheet" }, ...parts.map((part) => part.el)),
    ),
    draw() {
      for (const part of parts) part.draw();
    },
  };
}
