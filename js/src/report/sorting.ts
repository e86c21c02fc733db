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
