// The table of cases: which are shown, how sorted, their scores, and the value of each behind a mean.

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

// Tables that sort: numbers by their data-v, texts by their words.

/** Every heading sorts its table; a second click turns the order round. */
export function sortOnHeadings(page: ParentNode): void {
  for (const button of page.querySelectorAll("th button")) {
    const heading = button.closest("th")!;
    button.addEventListener("click", () => {
      sortBy(heading, heading.getAttribute("aria-sort") === "ascending");
    });
  }
}

/** Sort the rows of a table by the column of a heading; equal ones keep their order. */
export function sortBy(heading: HTMLTableCellElement, falls: boolean): void {
  const table = heading.closest("table")!;
  for (const header of table.querySelectorAll("th")) header.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falls ? "descending" : "ascending");
  const body = table.tBodies[0]!;
  const keyed = [...body.querySelectorAll("tr")].map((row) => ({
    row,
    key: keyOf(row.cells[heading.cellIndex]!),
  }));
  keyed.sort((a, b) => (falls ? compare(b.key, a.key) : compare(a.key, b.key)));
  body.append(...keyed.map(({ row }) => row));
}

type SortKey = number | string;

function keyOf(cell: HTMLTableCellElement): SortKey {
  const value = cell.dataset.v;
  if (value === undefined) return cell.textContent.trim();
  return value === "" ? Number.NEGATIVE_INFINITY : Number(value);
}

function compare(a: SortKey, b: SortKey): number {
  if (a === b) return 0; // two infinities have no difference
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}
