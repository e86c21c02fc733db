// Scales of colours, and the surface that applies a theme to a mounted root.

import type { Side } from "../contract/contract.ts";
import { PALETTES, type Palette, type ThemeName } from "../contract/palette.ts";
import { perFrame } from "../core/schedule.ts";
import type { Store } from "../core/store.ts";
import { h } from "./dom.ts";

/** The colour of a share of the scale. */
export type Colour = (share: number) => Rgb;

export function sequential(palette: Palette, side: Side | "change"): Colour {
  const to = rgb(side === "change" ? palette.both : palette[side]);
  const from = rgb(palette.neutral);
  return (share) => mix(from, to, Math.abs(share));
}

/** -1 is base, 0 neutral, 1 tuned. */
export function diverging(palette: Palette): Colour {
  const [low, middle, high] = [palette.base, palette.neutral, palette.tuned].map(rgb) as [
    Rgb,
    Rgb,
    Rgb,
  ];
  return (share) => mix(middle, share < 0 ? low : high, Math.abs(share));
}

/** A root element that wears a theme; panels draw with its palette and scale. */
export interface Surface {
  root: HTMLElement;
  store: Store;
  readonly palette: Palette;
  /** Size of marks and type against the normal one: larger when presenting. */
  readonly scale: number;
}

export function surface(root: HTMLElement, store: Store, signal: AbortSignal): Surface {
  const made: Surface & { palette: Palette; scale: number } = {
    root,
    store,
    palette: PALETTES.light,
    scale: 1,
  };
  const apply = () => {
    made.palette = PALETTES[themeNow(store)];
    const presented = root.classList.contains("tl-slides") ? Math.max(innerHeight / 460, 1) : 1.35;
    made.scale = store.presentation ? presented : 1;
    root.dataset.theme = made.palette.name;
    root.classList.toggle("tl-presentation", store.presentation);
  };
  apply();
  store.subscribe(apply, signal);
  const changed = perFrame(() => {
    const before = made.palette;
    apply();
    if (made.palette !== before) store.touch(); // panels draw again
  }, signal);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed, { signal });
  const observer = new MutationObserver(changed);
  observer.observe(document.body, {
    attributes: true,
    attributeFilter: ["data-jp-theme-light", "class"],
  });
  signal.addEventListener("abort", () => observer.disconnect());
  return made;
}

function themeNow(store: Store): ThemeName {
  if (store.theme !== "auto") return store.theme;
  const lab = document.body.dataset.jpThemeLight;
  if (lab !== undefined) return lab === "true" ? "light" : "dark";
  return systemTheme();
}

/** What the system of the reader prefers. */
export function systemTheme(): ThemeName {
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** By their style, of which there are few: a copy is not parsed again. */
const RAMPS = new Map<string, HTMLElement>();

/** The colours of a scale from a share to 1, for its key. */
export function ramp(colour: Colour, from: 0 | -1 = 0): HTMLElement {
  const stops = [0, 0.25, 0.5, 0.75, 1].map((t) => css(colour(from + (1 - from) * t)));
  const style = `background: linear-gradient(to right, ${stops.join(", ")})`;
  if (!RAMPS.has(style)) RAMPS.set(style, h("i", { class: "tl-ramp", style }));
  return RAMPS.get(style)!.cloneNode() as HTMLElement;
}

// Colours: mixing, scales.

export type Rgb = readonly [number, number, number];

export function rgb(hex: string): Rgb {
  const value = Number.parseInt(hex.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

export function css([r, g, b]: Rgb): string {
  return `rgb(${r} ${g} ${b})`;
}

export function mix(from: Rgb, to: Rgb, share: number): Rgb {
  const t = Math.min(Math.max(share, 0), 1);
  const blend = (i: 0 | 1 | 2) => Math.round(from[i] + (to[i] - from[i]) * t);
  return [blend(0), blend(1), blend(2)];
}
