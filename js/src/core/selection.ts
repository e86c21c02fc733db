// A selection; and a moment: everything that says what is seen, as plain JSON; and as the address of a
// page.

import type { Mark } from "../contract/contract.ts";
import type { Changed } from "./options.ts";

// What is selected, and the rules that keep it consistent (the same in Python).

export interface Selection {
  token: number;
  layer: number;
  head: number;
  unit: string;
}

export const SELECTION_DEFAULTS: Selection = { token: -1, layer: -1, head: -1, unit: "" };

/** A head and a unit live in `layer`: another layer clears what was not chosen with it. */
export function change(now: Selection, patch: Partial<Selection>): Selection {
  const next = { ...now, ...patch };
  if (next.layer !== now.layer) {
    if (patch.head === undefined) next.head = -1;
    if (patch.unit === undefined) next.unit = "";
  }
  if (next.layer < 0) {
    next.head = -1;
    next.unit = "";
  }
  return next;
}

/** One step back: unit, then head, then layer, then token. */
export function stepBack(now: Selection): Partial<Selection> {
  if (now.unit) return { unit: "" };
  if (now.head >= 0) return { head: -1 };
  if (now.layer >= 0) return { layer: -1 };
  return { token: -1 };
}

/** `token/layer/head/unit`, what tests and panels compare. */
export function selectionText({ token, layer, head, unit }: Selection): string {
  return `${token}/${layer}/${head}/${unit}`;
}

export interface Moment extends Selection {
  method: string;
  marks: readonly Mark[] | null;
  /** Options, as far as they are not those of the start. */
  view: Changed;
}

/** A moment that is kept, with what is said about it. */
export interface Slide {
  caption: string;
  /** For the speaker. */
  notes: string;
  state: Partial<Moment>;
}

const NAMES = [...Object.keys(SELECTION_DEFAULTS), "method", "marks", "view"] as (keyof Moment)[];

/** What of a moment is not as at the start, as `token=27&method=occlusion`. */
export function toAddress(moment: Moment, start: Moment): string {
  const parts = new URLSearchParams();
  for (const name of NAMES) {
    const value = moment[name];
    if (JSON.stringify(value) === JSON.stringify(start[name])) continue;
    parts.set(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  return parts.toString();
}

/** A moment from an address; what cannot be read is as at the start. */
export function fromAddress(text: string, start: Moment): Moment {
  const moment: Moment = { ...start };
  for (const [name, value] of new URLSearchParams(text.replace(/^#/, ""))) {
    const known = NAMES.find((option) => option === name);
    if (known) Object.assign(moment, { [known]: read(value, start[known]) });
  }
  return moment;
}

function read(value: string, start: unknown): unknown {
  if (typeof start === "string") return value;
  try {
    const parsed: unknown = JSON.parse(value);
    return typeof start === "number" && !Number.isInteger(parsed) ? start : parsed;
  } catch {
    return start;
  }
}
