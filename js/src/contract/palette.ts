// Generated from widgets/twinlens/contract/palette.py by `make contract`: do not edit.

import type { THEMES } from "./contract.ts";

export type ThemeName = (typeof THEMES)[number];

export interface Palette {
  name: ThemeName;
  background: string;
  shade: string;
  chosen: string;
  ink: string;
  muted: string;
  rule: string;
  marker: string;
  absent: string;
  neutral: string;
  base: string;
  tuned: string;
  both: string;
  baseText: string;
  tunedText: string;
  attention: string;
  feedForward: string;
  holds: string;
  holdsText: string;
  turns: string;
  unknown: string;
}

export const PALETTES: Record<ThemeName, Palette> = {
  light: {
    name: "light",
    background: "#ffffff",
    shade: "#f1f4f8",
    chosen: "#fff1e4",
    ink: "#16181d",
    muted: "#626973",
    rule: "#e2e5e9",
    marker: "#c9cdd3",
    absent: "#f3f5f7",
    neutral: "#fafbfc",
    base: "#2f6cb5",
    tuned: "#d2601a",
    both: "#626973",
    baseText: "#2866b1",
    tunedText: "#b54f0e",
    attention: "#7a4fa3",
    feedForward: "#1f8577",
    holds: "#1f8577",
    holdsText: "#166b5f",
    turns: "#9c2c77",
    unknown: "#8a9099",
  },
  dark: {
    name: "dark",
    background: "#15171b",
    shade: "#20252b",
    chosen: "#3a2a1c",
    ink: "#eef0f3",
    muted: "#9ba2ac",
    rule: "#2d3138",
    marker: "#565c65",
    absent: "#1d2126",
    neutral: "#15171b",
    base: "#6fa8ec",
    tuned: "#f0955a",
    both: "#a3a9b2",
    baseText: "#6fa8ec",
    tunedText: "#f0955a",
    attention: "#bb98e0",
    feedForward: "#58bfae",
    holds: "#58bfae",
    holdsText: "#58bfae",
    turns: "#ec8fc8",
    unknown: "#767c85",
  },
};
