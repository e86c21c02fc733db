import { beforeEach, describe, expect, it } from "vitest";
import { sortOnHeadings } from "../../src/report/cases.ts";

const cells = () => [...document.querySelectorAll("tbody tr")].map((row) => row.textContent.trim());

function click(column: number): string | null {
  const heading = document.querySelectorAll("th")[column]!;
  heading.querySelector("button")!.click();
  return heading.getAttribute("aria-sort");
}

describe("a table of the report", () => {
  beforeEach(() => {
    const rows = [
      ["p10", "0.5", "a"],
      ["p9", "", "b"],
      ["p1", "-2", "c"],
      ["p2", "", "d"],
      ["p3", "0.5", "e"],
    ].map(
      ([id, value, mark]) => `<tr><td>${id}</td><td data-v="${value}"></td><td>${mark}</td></tr>`,
    );
    const heads = ["id", "value", "mark"].map((name) => `<th><button>${name}</button></th>`);
    document.body.innerHTML = `<table><thead><tr>${heads.join("")}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
    sortOnHeadings(document);
  });

  it("sorts texts with the numbers in them, and the other way at a second click", () => {
    expect(click(0)).toBe("ascending");
    expect(cells()).toEqual(["p1c", "p2d", "p3e", "p9b", "p10a"]);
    expect(click(0)).toBe("descending");
    expect(cells()).toEqual(["p10a", "p9b", "p3e", "p2d", "p1c"]);
  });

  it("sorts by numbers, no number first, and keeps the order of equal ones", () => {
    click(1);
    expect(cells()).toEqual(["p9b", "p2d", "p1c", "p10a", "p3e"]);
    click(1);
    expect(cells()).toEqual(["p10a", "p3e", "p1c", "p9b", "p2d"]);
    click(0);
    expect(document.querySelectorAll("[aria-sort]")).toHaveLength(1);
  });
});
