import { describe, expect, it } from "vitest";
import { tabs } from "../../src/draw/tabs.ts";

function made(picked: string[] = []) {
  const choices = ["one", "two", "three"].map((value) => ({ value, label: `the ${value}` }));
  const { signal } = new AbortController();
  const row = tabs("things", choices, signal, (value) => picked.push(value));
  document.body.append(row.bar, row.sheet);
  return { row, names: [...row.bar.querySelectorAll<HTMLElement>("[role=tab]")] };
}
const selected = (names: HTMLElement[]) => names.map((one) => one.getAttribute("aria-selected"));

describe("tabs", () => {
  it("choose by click, tell the sheet, and call once", () => {
    const picked: string[] = [];
    const { row, names } = made(picked);
    expect(selected(names)).toEqual(["true", "false", "false"]);
    names[2]!.click();
    names[2]!.click();
    expect(picked).toEqual(["three"]);
    expect(row.value).toBe("three");
    expect(selected(names)).toEqual(["false", "false", "true"]);
    expect(row.sheet.getAttribute("aria-label")).toBe("the three");
  });

  it("step with the arrow keys around the row; Tab reaches the chosen one", () => {
    const picked: string[] = [];
    const { names } = made(picked);
    names[0]!.focus();
    for (const key of ["ArrowLeft", "ArrowRight", "ArrowRight", "End", "Home"]) {
      const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
      document.activeElement!.dispatchEvent(event);
    }
    expect(picked).toEqual(["three", "one", "two", "three", "one"]);
    expect(names.map((one) => one.tabIndex)).toEqual([0, -1, -1]);
    expect(document.activeElement).toBe(names[0]);
  });

  it("are set from outside without a call", () => {
    const picked: string[] = [];
    const { row, names } = made(picked);
    row.show("two");
    expect([picked, selected(names)]).toEqual([[], ["false", "true", "false"]]);
  });
});
