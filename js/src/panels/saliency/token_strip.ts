// A run of tokens as text: each a button with places for bars above (base), below (tuned), and below
// these for their difference on the same scale; names of these lines stand at its left.

import {
  type BySide,
  type Segment,
  SIDES,
  type Side,
  type Token,
} from "../../contract/contract.ts";
import { perFrame } from "../../core/schedule.ts";
import { fill, h, onResize, setAttribute } from "../../draw/dom.ts";
import { number, tokenText } from "../../draw/format.ts";
import { memo } from "../../maths/memo.ts";
import type { Numbers } from "../../maths/numbers.ts";
import { turn } from "../../sources/turn.ts";
import { type Bar, type Barred, barPainter, type Frames } from "./token_bars.ts";
import type { Track } from "./tracks.ts";

type Part = "bars" | "differences" | "tracks" | "stacks" | "label";
type Work = (mark: Marks, index: number) => void;

/** Of longer texts only what is in sight of their row is drawn, the rest when it comes there. */
const MANY = 64;
/** Of still longer ones only what is in sight of the window. */
const VERY_MANY = 300;
/** Characters of a word that may be wider than its row. */
const LONG = 12;
/** Height of the differences, in heights of a bar. */
const ROOM = 1.5;

interface Marks extends Barred {
  el: HTMLButtonElement;
  bars: readonly [base: Bar, tuned: Bar, gap: Bar];
  difference: HTMLElement;
  tracks: HTMLElement;
  lanes: Lane[];
  stack: HTMLElement;
}

/** What a number is: measured, or estimated. */
export type Look = (side: Side, index: number) => "solid" | "hatched";

export interface Strip {
  el: HTMLElement;
  tokens: readonly Token[];
  /** Position of the first token. */
  offset: number;
  buttons: HTMLButtonElement[];
  bars(values: BySide<Numbers | null>, max: number, look: Look): void;
  /** tuned - base on the scale of the bars. */
  differences(values: Numbers | null, max: number, look: Look): void;
  tracks(tracks: readonly Track[], max: readonly number[]): void;
  /** Something of the caller's under every token, made anew where `of` is not as before. */
  stacks(make: (index: number) => (HTMLElement | null)[], of: readonly unknown[]): void;
  segments(segments: readonly Segment[]): void;
  select(position: number, reading: number, span: readonly [number, number] | null): void;
  /** Draw the bars as they are now; `form` is what else their places depend on. */
  paint(form: string): void;
  label(text: (index: number) => string): void;
  /** Collapse runs of template tokens, but for the one with a token that has to be seen. */
  collapse(template: boolean, seen: number): void;
}

/** `side` is given where the row belongs to one model only: it then has that model's bars only. */
export function tokenStrip(tokens: readonly Token[], offset: number, side?: Side): Strip {
  const marks = tokens.map((token, i) => make(token, offset + i, side));
  // The words are painted by themselves: bars and frames over them change with every selection.
  const words = h("div", { class: "tl-flow tl-words" }, ...marks.map((mark) => mark.el));
  const el = h("div", { class: "tl-text" }, words);
  const painter = barPainter(el);
  const root = tokens.length > VERY_MANY ? () => null : () => el.parentElement;
  const sight = tokens.length > MANY ? inSight(marks, root, () => paint()) : null;
  const each = sight?.each ?? ((_: Part, work: Work) => marks.forEach(work));
  let form = "";
  let frames: Frames = {};
  const paint = () => {
    painter.draw(sight ? sight.seen() : marks, frames, [form, collapsed, spanned].join());
  };
  const stacked = memo<void>();
  let segmented = "";
  let collapsed = "";
  let selected = "";
  let spanned: readonly [number, number] | null = null;
  const shown = (name: Side) => side === undefined || side === name;
  return {
    el,
    tokens,
    offset,
    buttons: marks.map((mark) => mark.el),
    bars(values, max, look) {
      each("bars", (mark, i) => {
        for (const [k, name] of SIDES.entries()) {
          const value = shown(name) ? values[name]?.[i] : undefined;
          setBar(mark.bars[k]!, value, max, look(name, i));
        }
      });
    },
    differences(values, max, look) {
      const { up, span } = room(values, max);
      each("differences", ({ difference, bars: [, , gap] }, i) => {
        const value = side === undefined ? values?.[i] : undefined;
        setAttribute(difference, "data-value", Number.isNaN(value) ? null : value);
        const both = look("base", i) === "solid" && look("tuned", i) === "solid";
        const share = value && max > 0 ? value / max : 0;
        // Its sign is its side, as is its colour: nothing is hollow here.
        gap.side = share < 0 ? "base" : "tuned";
        // From the line of zero, in parts of the height: at most as large as the bars.
        gap.size = Math.abs(share) < NOTHING ? 0 : Math.abs(share) / span;
        gap.top = (share < 0 ? up : up - Math.abs(share)) / span;
        gap.look = both ? "solid" : "hatched";
      });
    },
    tracks(tracks, max) {
      const at = tracks.findIndex(({ update }) => update);
      each("tracks", (mark, i) => {
        const acts = Math.abs(tracks[at]?.values.tuned[offset + i] ?? Number.NaN) / max[at]!;
        mark.el.toggleAttribute("data-acts", acts >= 0);
        mark.el.style.setProperty("--tl-acts", acts >= 0 ? `${Math.round(acts * 100)}%` : "");
        while (mark.lanes.length > tracks.length) mark.lanes.pop()!.el.remove();
        for (const [k, track] of tracks.entries()) {
          mark.lanes[k] ??= lane(mark.tracks);
          setLane(mark.lanes[k]!, track, offset + i, max[k]!, shown);
        }
      });
    },
    stacks(make, of) {
      stacked(of, () =>
        each("stacks", (mark, i) => {
          fill(mark.stack, ...make(i).filter((part) => part !== null));
        }),
      );
    },
    segments(segments) {
      const now = segments.join();
      if (now === segmented) return;
      segmented = now;
      marks.forEach(({ el: token }, i) => {
        token.dataset.segment = segments[i] ?? "other";
      });
    },
    select(position, reading, span) {
      const now = JSON.stringify([position, reading, span]);
      if (now === selected) return;
      selected = now;
      spanned = span;
      const word = (at: number) => marks[at - offset]?.word;
      const [chosen, read] = span ? [] : [word(position), word(reading)];
      frames = { ...(read && read !== chosen && { read }), ...(chosen && { chosen }) };
      // Once the page is painted, not in the middle of changing it.
      const token = marks[position - offset]?.el;
      if (token) void turn().then(() => bringIntoSight(token));
      marks.forEach(({ el: token }, i) => {
        const at = offset + i;
        const inside = span !== null && at >= span[0] && at <= span[1];
        setAttribute(token, "aria-pressed", String(at === position || inside));
        setAttribute(
          token,
          "data-span",
          inside ? (at === span[0] ? "first" : at === span[1] ? "last" : "inner") : null,
        );
      });
    },
    paint(now) {
      form = now;
      paint();
    },
    label(text) {
      each("label", ({ el: token }, i) => {
        setAttribute(token, "aria-label", text(i));
      });
    },
    collapse(template, seen) {
      const outside = (i: number) => ["template", "special"].includes(tokens[i]?.segment ?? "");
      const now = `${template} ${outside(seen - offset) ? seen : -1}`;
      if (now === collapsed) return;
      collapsed = now;
      for (let from = 0; from < tokens.length; ) {
        let to = from + 1;
        while (outside(from) && outside(to)) to++;
        // One token takes no more room than what would stand for it.
        const hide = template && to - from > 1 && !(seen >= offset + from && seen < offset + to);
        for (let i = from; i < to; i++) {
          setAttribute(marks[i]!.el, "data-collapsed", hide && (i === from ? "first" : "rest"));
        }
        from = to;
      }
    },
  };
}

function make(token: Token, position: number, side: Side | undefined): Marks {
  const { gap, word } = tokenText(token.text);
  const bars = [bar("base"), bar("tuned"), bar("tuned")] as const;
  const [above, below, gapBar] = bars;
  const difference = h("span", { class: "tl-difference" }, gapBar.el);
  const tracks = h("span", { class: "tl-tracks" });
  const stack = h("span", { class: "tl-stack-slot" });
  const shown = h("bdi", { class: word.length > LONG ? "tl-word tl-cut" : "tl-word" }, word);
  const el = h(
    "button",
    {
      type: "button",
      class: gap ? "tl-token tl-gap" : "tl-token",
      tabindex: -1,
      "data-token": position,
      "data-segment": token.segment,
      "data-side": side,
    },
    h("span", { class: "tl-up" }, above.el),
    shown,
    h("span", { class: "tl-down" }, below.el),
    difference,
    tracks,
    stack,
  );
  return { el, word: shown, bars, difference, tracks, lanes: [], stack };
}

/** A row that scrolls shows what is selected; the page around it stays where it is. */
function bringIntoSight(token: HTMLElement): void {
  const row = token.closest<HTMLElement>(".tl-row");
  if (!row || row.scrollHeight <= row.clientHeight) return;
  const [of, box] = [token.getBoundingClientRect(), row.getBoundingClientRect()];
  if (of.top < box.top) row.scrollTop -= box.top - of.top;
  else if (of.bottom > box.bottom) row.scrollTop += of.bottom - box.bottom;
}

/**
 * Does each part of the work for the tokens in sight now, and for others once they come there; in
 * sight of `rootOf()`, or of the window. `came` is called when others are.
 */
function inSight(
  marks: readonly Marks[],
  rootOf: () => Element | null,
  came: () => void,
): { each(part: Part, work: Work): void; seen(): Marks[] } {
  const works = new Map<Part, Work>();
  const seen = new Set<number>();
  const done = new Map<number, number>();
  let stamp = 0;
  const index = new Map<Element, number>(marks.map(({ el }, i) => [el, i]));
  const look: IntersectionObserverCallback = (entries) => {
    for (const { target, isIntersecting } of entries) {
      const i = index.get(target)!;
      if (!isIntersecting) seen.delete(i);
      else {
        seen.add(i);
        if (done.get(i) !== stamp) for (const work of works.values()) work(marks[i]!, i);
        done.set(i, stamp);
      }
    }
    came();
  };
  let watching = false;
  const watch = () => {
    watching = true;
    const observer = new IntersectionObserver(look, { root: rootOf() });
    for (const { el } of marks) observer.observe(el);
  };
  return {
    each(part, work) {
      if (!watching) watch();
      works.set(part, work);
      stamp++;
      for (const i of seen) {
        work(marks[i]!, i);
        done.set(i, stamp);
      }
    },
    seen: () => [...seen].map((i) => marks[i]!),
  };
}

/** How far differences reach up, and up and down together, as shares of the scale. */
function room(values: Numbers | null, max: number): { up: number; span: number } {
  if (!values || max === 0) return { up: 0, span: 1 };
  const known = Array.from(values).filter((value) => !Number.isNaN(value));
  const up = Math.max(0, ...known) / max;
  return { up, span: Math.max(up - Math.min(0, ...known) / max, ROOM) };
}

/** Shares of the scale below which nothing is painted. */
const NOTHING = 0.01;

function bar(side: Side): Bar {
  const el = h("i", { class: "tl-bar", "data-side": side });
  return { el, side, value: undefined, size: 0, top: 0, look: "" };
}

function setBar(
  bar: Bar,
  value: number | undefined,
  max: number,
  look: "solid" | "hatched" | "track",
): void {
  const share = value !== undefined && max > 0 ? value / max : 0;
  bar.size = Math.abs(share) >= NOTHING ? Math.abs(share) : 0;
  if (bar.side === "base") bar.top = 1 - bar.size; // above the word
  const shown = share < 0 ? "hollow" : look;
  if (bar.look !== shown) bar.el.dataset.bar = bar.look = shown;
  if (Object.is(bar.value, value)) return;
  bar.value = value;
  setAttribute(bar.el, "data-value", Number.isNaN(value) ? null : value);
}

interface Lane {
  el: HTMLElement;
  bars: readonly [base: Bar, tuned: Bar];
}

function lane(place: HTMLElement): Lane {
  const bars = [bar("base"), bar("tuned")] as const;
  const el = h(
    "span",
    { class: "tl-lane" },
    h("span", { class: "tl-up" }, bars[0].el),
    h("span", { class: "tl-down" }, bars[1].el),
  );
  place.append(el);
  return { el, bars };
}

function setLane(
  { el, bars }: Lane,
  track: Track,
  position: number,
  max: number,
  shown: (side: Side) => boolean,
): void {
  const skipped = track.skip.includes(position);
  setAttribute(el, "data-skipped", skipped);
  for (const [k, side] of SIDES.entries()) {
    const value = shown(side) && !skipped ? track.values[side][position] : undefined;
    setBar(bars[k]!, value, max, "track");
  }
}

/** A line for the tooltip or the label: both models' numbers and their difference. */
export function pairText(
  name: string,
  base: number | undefined,
  tuned: number | undefined,
): string {
  const parts: string[] = [];
  if (base !== undefined) parts.push(`base ${number(base)}`);
  if (tuned !== undefined) parts.push(`tuned ${number(tuned)}`);
  if (base !== undefined && tuned !== undefined) parts.push(`difference ${number(tuned - base)}`);
  return parts.length ? `${name}: ${parts.join(", ")}` : "";
}

export interface Gutter {
  el: HTMLElement;
  draw(tracks: readonly Track[]): void;
}

/** Lines of tokens beside which names are repeated. */
const MOST = 200;

/** `side` is given where the row belongs to one model only. */
export function gutter(text: HTMLElement, word: string, signal: AbortSignal, side?: Side): Gutter {
  const answer = word !== "prompt";
  const el = h("div", { class: "tl-gutter", "aria-hidden": "true" });
  let tracks: readonly Track[] = [];
  let lines = 1;
  let drawn = "";
  const draw = () => {
    const form = `${lines} ${tracks.length}`;
    if (form !== drawn) {
      drawn = form;
      el.replaceChildren(...Array.from({ length: lines }, (_, i) => line(i === 0 ? word : "")));
    }
    for (const [i, lane] of el.querySelectorAll(".tl-lane > span").entries()) {
      fill(lane, tracks[i % tracks.length]!.short);
    }
  };
  const line = (first: string) =>
    h(
      "div",
      { class: "tl-gutter-line" },
      name("tl-up", side ? "" : "base", "base"),
      name("tl-word", first, side),
      name("tl-down", side ? "" : "tuned", "tuned"),
      name("tl-difference", "tuned − base"),
      h("span", { class: "tl-tracks" }, ...tracks.map(() => name("tl-lane", ""))),
      name("tl-stack-slot", answer ? "how likely" : ""),
    );
  // Lines are alike, and counted when the width changes.
  const count = perFrame(() => {
    const first = el.firstElementChild;
    if (!first || first.clientHeight === 0) return;
    const gap = Number.parseFloat(getComputedStyle(text).rowGap) || 0;
    const fit = Math.round((text.scrollHeight + gap) / (first.clientHeight + gap));
    lines = Math.min(Math.max(fit, 1), MOST);
    draw();
  }, signal);
  onResize(text, signal, count);
  draw();
  return {
    el,
    draw(now) {
      tracks = now;
      draw();
    },
  };
}

function name(place: string, text: string, side?: Side): HTMLElement {
  return h(
    "span",
    { class: side ? `${place} tl-side` : place, "data-side": side },
    h("span", {}, text),
  );
}
