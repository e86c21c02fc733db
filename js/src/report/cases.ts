// The table of cases: which are shown, their scores, and the value of each behind a mean.

import { sortBy } from "./sorting.ts";
import type { Profile, Variant } from "./study.ts";

/** Columns of the table. */
const OWN = 3;
const SCORES = { base: 4, tuned: 5, difference: 6 } as const;
type Score = keyof typeof SCORES;

/** By case, in the order of the study. */
export type Scores = Record<Score, number[]>;

export interface CaseTable {
  /** Rows by case, in whatever order the table is. */
  readonly rows: readonly HTMLTableRowElement[];
  /** Show some cases, or all. */
  show(chosen: readonly number[] | null, words?: string): void;
  /** Add a sentence to what is said of the cases shown. */
  add(sentence: string): void;
  /** Write the scores under one change of settings, or those of the tables. */
  rescore(variant: Variant | undefined): void;
  scores(): Scores;
  /** Each case shows its own value in a part of a profile, from 1; largest first. */
  showPart(profile: Profile | undefined, part: number): void;
}

export function caseTable(
  table: HTMLTableElement,
  note: HTMLElement,
  clear: HTMLElement,
): CaseTable {
  const rows = [...table.querySelectorAll<HTMLTableRowElement>("tbody tr")];
  const headings = table.querySelectorAll("th");
  const names = Object.keys(SCORES) as Score[];
  const cellOf = (row: HTMLTableRowElement, name: Score) => row.cells[SCORES[name]]!;
  const original = rows.map((row) =>
    names.map((name) => {
      const cell = cellOf(row, name);
      return { text: cell.textContent, value: cell.dataset.v ?? "" };
    }),
  );
  return {
    rows,
    show(chosen, words = "") {
      const shown = chosen && new Set(chosen);
      rows.forEach((row, place) => {
        row.hidden = shown !== null && !shown.has(place);
      });
      note.textContent = shown
        ? `${words}: ${shown.size} of ${rows.length} prompts.`
        : `All ${rows.length} prompts.`;
      clear.hidden = shown === null;
    },
    add(sentence) {
      note.append(` ${sentence}`);
    },
    rescore(variant) {
      rows.forEach((row, place) => {
        const written = variant ? scoresUnder(variant, place) : original[place]!;
        names.forEach((name, i) => {
          const cell = cellOf(row, name);
          cell.textContent = written[i]!.text;
          cell.dataset.v = written[i]!.value;
        });
      });
    },
    scores() {
      const values = names.map((name) =>
        rows.map((row) => Number(cellOf(row, name).dataset.v || Number.NaN)),
      );
      const [base, tuned, difference] = values as [number[], number[], number[]];
      return { base, tuned, difference };
    },
    showPart(profile, part) {
      const head = headings[OWN]!;
      head.hidden = profile === undefined;
      rows.forEach((row, place) => {
        const value = profile?.[place]?.[part - 1];
        const cell = row.cells[OWN]!;
        cell.hidden = head.hidden;
        cell.textContent = value === undefined ? "" : value.toFixed(3);
        cell.dataset.v = value === undefined ? "" : String(value);
      });
      if (!head.hidden) sortBy(head, true);
      else if (head.hasAttribute("aria-sort")) sortBy(headings[0]!, false);
    },
  };
}

/** Base, tuned and their difference as Python writes them: four digits, the difference signed. */
function scoresUnder(variant: Variant, place: number): { text: string; value: string }[] {
  const [base, tuned] = [variant.base[place] ?? null, variant.tuned[place] ?? null];
  if (base === null || tuned === null) return [0, 1, 2].map(() => ({ text: "–", value: "" }));
  const difference = tuned - base;
  return [base, tuned, difference].map((value, i) => {
    const sign = i === 2 && value >= 0 ? "+" : "";
    return { text: `${sign}${value.toFixed(4)}`, value: String(value) };
  });
}
