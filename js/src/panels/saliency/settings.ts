// Settings of levels and densities, and of what is left out of the pictures.

import type { Store } from "../../core/store.ts";
import { h } from "../../draw/dom.ts";

export function settings(store: Store, signal: AbortSignal): HTMLElement {
  const { density } = store.options.saliency;
  const setDensity = (patch: Partial<typeof density>) =>
    store.setOptions("saliency", { density: { ...store.options.saliency.density, ...patch } });
  return h(
    "details",
    { class: "tl-settings" },
    h("summary", { class: "tl-button" }, "settings"),
    h(
      "div",
      { class: "tl-sheet" },
      field("L, number of levels", density.levels, 1, 100, signal, (levels) =>
        setDensity({ levels }),
      ),
      field(
        "b, levels not above it count as 0 (density)",
        density.threshold,
        0,
        100,
        signal,
        (threshold) => setDensity({ threshold }),
      ),
      field(
        "b for pictures of levels",
        store.options.saliency.pictureThreshold,
        0,
        100,
        signal,
        (pictureThreshold) => store.setOptions("saliency", { pictureThreshold }),
      ),
      field("p of the density", density.norm, 1, 100, signal, (norm) => setDensity({ norm })),
      toggle(
        "divide densities by the prompt's maximum, as published",
        density.relative,
        signal,
        (relative) => setDensity({ relative }),
      ),
      toggle(
        "set the first token aside in attention",
        store.options.saliency.setSinkAside,
        signal,
        (setSinkAside) => store.setOptions("saliency", { setSinkAside }),
      ),
      toggle(
        "collapse template tokens",
        store.options.saliency.hideTemplate,
        signal,
        (hideTemplate) => store.setOptions("saliency", { hideTemplate }),
      ),
    ),
  );
}

function field(
  label: string,
  value: number,
  min: number,
  max: number,
  signal: AbortSignal,
  change: (value: number) => void,
): HTMLElement {
  const input = h("input", { type: "number", min, max, value, step: 1 });
  input.addEventListener(
    "change",
    () => {
      const wanted = Math.min(Math.max(Number(input.value) || min, min), max);
      input.value = String(wanted);
      change(wanted);
    },
    { signal },
  );
  return h("label", {}, input, label);
}

function toggle(
  label: string,
  on: boolean,
  signal: AbortSignal,
  change: (on: boolean) => void,
): HTMLElement {
  const input = h("input", { type: "checkbox", checked: on });
  input.addEventListener("change", () => change(input.checked), { signal });
  return h("label", {}, input, label);
}
