// The two colour themes, and the surface that applies one to a mounted root.

import type { Side } from "../contract/contract.ts";
import { perFrame } from "../core/schedule.ts";
import type { Store } from "../core/store.ts";
import { css, mix, type Rgb, rgb } from "./scales.ts";

export interface Palette {
  name: "light" | "dark";
  background: string;
  ink: string;
  muted: string;
  rule: string;
  shade: string;
  /** Behind values that do not exist, such as attention to later tokens. */
  absent: string;
  /** The middle of the diverging scale and the zero of the others. */
  neutral: string;
  base: string;
  tuned: string;
  both: string;
  /** The same hues, dark or light enough for words. */
  baseText: string;
  tunedText: string;
}

export const PALETTES: Record<"light" | "dark", Palette> = {
  light: {
    name: "light",
    background: "#ffffff",
    ink: "#16181d",
    muted: "#626973",
    rule: "#e2e5e9",
    shade: "#f1f4f8",
    absent: "#f3f5f7",
    neutral: "#fafbfc",
    base: "#2f6cb5",
    tuned: "#d2601a",
    both: "#626973",
    baseText: "#2866b1",
    tunedText: "#b54f0e",
  },
  dark: {
    name: "dark",
    background: "#15171b",
    ink: "#eef0f3",
    muted: "#9ba2ac",
    rule: "#2d3138",
    shade: "#20252b",
    absent: "#1d2126",
    neutral: "#15171b",
    base: "#6fa8ec",
    tuned: "#f0955a",
    both: "#a3a9b2",
    baseText: "#6fa8ec",
    tunedText: "#f0955a",
  },
};

export function sequential(palette: Palette, side: Side | "change"): (share: number) => Rgb {
  const to = rgb(side === "change" ? palette.both : palette[side]);
  const from = rgb(palette.neutral);
  return (share) => mix(from, to, Math.abs(share));
}

/** -1 is base, 0 neutral, 1 tuned. */
export function diverging(palette: Palette): (share: number) => Rgb {
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

const VARIABLES = [
  "background",
  "ink",
  "muted",
  "rule",
  "shade",
  "absent",
  "neutral",
  "base",
  "tuned",
  "both",
  "baseText",
  "tunedText",
] as const;

export function surface(root: HTMLElement, store: Store, signal: AbortSignal): Surface {
  const made = { root, store, palette: PALETTES.light, scale: 1 };
  const apply = () => {
    made.palette = PALETTES[themeNow(store)];
    made.scale = store.presentation ? 1.35 : 1;
    root.dataset.theme = made.palette.name;
    root.classList.toggle("tl-presentation", store.presentation);
    for (const name of VARIABLES) root.style.setProperty(`--tl-${name}`, made.palette[name]);
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

function themeNow(store: Store): "light" | "dark" {
  if (store.theme !== "auto") return store.theme;
  const lab = document.body.dataset.jpThemeLight;
  if (lab !== undefined) return lab === "true" ? "light" : "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** CSS gradient of a scale, for its key. */
export function gradient(colour: (share: number) => Rgb, from: number, to: number): string {
  const stops = [0, 0.25, 0.5, 0.75, 1].map((t) => css(colour(from + (to - from) * t)));
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
