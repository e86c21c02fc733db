// Numbers and token text as people read them.

import { type BySide, SIDES } from "../contract/contract.ts";

/** Three significant digits with a true minus sign. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  let text: string;
  if (size >= 1e5 || size < 5e-4) text = value.toExponential(1);
  else if (size >= 100) text = value.toFixed(0);
  else text = value.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : 3).replace(/\.0+$/, "");
  return text.replaceAll("-", "−");
}

/** A number out of 1: what is next to nothing is said to be that. */
export function outOfOne(value: number, format = number): string {
  const size = Math.abs(value);
  if (!(size > 0 && size < 5e-4)) return format(value);
  return value > 0 ? "< 0.001" : "> −0.001";
}

export function signed(value: number): string {
  return value > 0 ? `+${number(value)}` : number(value);
}

/** A number of both models, in words; a dash for what is not known. */
export function ofBoth(values: BySide<number | undefined>): string {
  return SIDES.map((side) => `${side} ${number(values[side] ?? Number.NaN)}`).join(", ");
}

export function percent(share: number): string {
  const value = share * 100;
  const size = Math.abs(value);
  if (size > 0 && size < 0.01) return value > 0 ? "< 0.01 %" : "> −0.01 %";
  const digits = size >= 10 || size === 0 ? 0 : size >= 0.1 ? 1 : 2;
  return `${value.toFixed(digits).replace("-", "−")} %`;
}

/** Nats below which a probability changes by less than about a tenth. */
const SMALL = 0.1;

/**
 * What is said of a map in nats on which nothing is large; nothing of others. Its colours are as
 * strong as if it were, and nats have no largest value that they could be set against.
 */
export function smallEffects(largest: number, unit: string): string {
  if (unit.trim() !== "nats" || !(largest > 0 && largest < SMALL)) return "";
  return `All of it is small: at most ${percent(Math.expm1(largest))} of a probability.`;
}

export function count(n: number, singular: string, plural = `${singular}s`): string {
  return `${n} ${n === 1 ? singular : plural}`;
}

const NAMES: Record<string, string> = {
  "\n": "↵",
  "\t": "⇥",
  "\r": "␍",
  "\u007f": "␡",
  "\u00a0": "⍽",
};
/** Controls, line ends, direction marks, blanks other than the common one, and what has no glyph. */
const UNSEEN = /[\p{Cc}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}\p{DI}\ufff9-\ufffb\u2800]|(?! )\p{Zs}/gu;
/** What shapes the character before it: joiners, variations, the letters of flags. */
const SHAPING = /\p{Variation_Selector}|\u034f|\u200c|\u200d|[\u{e0020}-\u{e007f}]/u;

/** Token text with everything invisible made visible; a mark that begins it stands on a circle. */
export function visible(text: string): string {
  const seen = text.replace(UNSEEN, (c, at: number) => {
    if (NAMES[c]) return NAMES[c];
    const code = c.codePointAt(0)!;
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    if (at > 0 && SHAPING.test(c)) return c;
    return `‹U+${code.toString(16).toUpperCase().padStart(4, "0")}›`;
  });
  return /^\p{M}/u.test(seen) ? `◌${seen}` : seen;
}

/** What to draw for a token: whether a blank goes before it, and its visible text. */
export function tokenText(text: string): { gap: boolean; word: string } {
  const gap = text.startsWith(" ");
  const rest = gap ? text.slice(1) : text;
  return {
    gap,
    word: visible(rest).replace(/^ +| +$/g, (blanks) => "·".repeat(blanks.length)) || "␣",
  };
}

/** A token quoted in a sentence; isolated, so that its writing direction stays its own. */
export function quote(text: string, longest = 40): string {
  const { word } = tokenText(text);
  const letters = [...word];
  const short = letters.length > longest ? `${letters.slice(0, longest).join("")}…` : word;
  return `“\u2068${short}\u2069”`;
}
