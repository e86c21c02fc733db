// A moment: everything that says what is seen, as plain JSON; and as the address of a page.

import type { Mark } from "../contract/contract.ts";
import type { Changed } from "./options.ts";
import { SELECTION_DEFAULTS, type Selection } from "./selection.ts";

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
