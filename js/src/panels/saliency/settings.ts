// Settings of levels and densities, and of what is left out of the pictures.

import type { Store } from "../../core/store.ts";
import { h, listen } from "../../draw/dom.ts";
import { popover } from "../../draw/layer.ts";

const NUMBERS = [
  ["levels", "L, number of levels", 1],
  ["threshold", "b, levels not above it count as 0 (density)", 0],
  ["pictureThreshold", "b for pictures of levels", 0],
  ["norm", "p of the density", 1],
] as const;
const MAX = 100;

const SWITCHES = [
  ["relative", "divide densities by the prompt's maximum, as published"],
  ["setSinkAside", "set the first token aside in attention"],
  ["hideTemplate", "collapse template tokens"],
  ["showShares", "show shares of the effect by part of the prompt"],
] as const;

/** `more` stands above the settings. */
export function settings(store: Store, more: HTMLElement, signal: AbortSignal) {
  const now = () => ({ ...store.options.saliency, ...store.options.saliency.density });
  const put = (name: keyof ReturnType<typeof now>, value: number | boolean) => {
    const { density } = store.options.saliency;
    const patch = { [name]: value };
    store.setOptions("saliency", name in density ? { density: { ...density, ...patch } } : patch);
  };
  const numbers = NUMBERS.map(([name, label, min]) => {
    const input = h("input", { type: "number", min, max: MAX, step: 1 });
    let shown = Number.NaN;
    const change = () => {
      const value = Math.min(Math.max(Number(input.value) || min, min), MAX);
      input.value = String(value);
      put(name, value);
    };
    listen(input, "change", { signal }, change);
    const draw = () => {
      const value = now()[name];
      if (value !== shown) input.value = String(value); // what is being typed stays
      shown = value;
    };
    return { el: h("label", {}, input, label), draw };
  });
  const switches = SWITCHES.map(([name, label]) => {
    const input = h("input", { type: "checkbox" });
    listen(input, "change", { signal }, () => put(name, input.checked));
    const draw = () => {
      input.checked = now()[name];
    };
    return { el: h("label", {}, input, label), draw };
  });
  const parts = [...numbers, ...switches];
  const { el, close } = popover(
    "settings",
    "settings of the saliency panel",
    [more, ...parts.map((part) => part.el)],
    signal,
  );
  listen(more, "click", { signal }, close);
  return {
    el,
    draw() {
      for (const part of parts) part.draw();
    },
  };
}
