import { afterEach, describe, expect, it } from "vitest";
import { windowList } from "../../src/draw/window_list.ts";

afterEach(() => document.body.replaceChildren());

const all = (root: ParentNode, selector: string) => [
  ...root.querySelectorAll<HTMLElement>(selector),
];
const press = (element: Element, key: string) =>
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));

describe("a long list", () => {
  it("has elements only for what is in view, and walks with the keys", () => {
    const picked: number[] = [];
    const { signal } = new AbortController();
    const list = windowList("things", signal, (i) => picked.push(i));
    document.body.append(list.el);
    const draw = (chosen: number) =>
      list.draw({
        count: 1536,
        chosen,
        cells: (i) => [document.createElement(`b${i}`)],
        label: (i) => `row ${i}`,
        mark: (i) => String(i),
      });
    draw(-1);
    expect(all(list.el, "[role=option]").length).toBeLessThan(60);
    for (const key of ["ArrowDown", "End", "Home", "PageDown"]) press(list.el, key);
    draw(1535);
    press(list.el, "ArrowDown");
    expect(picked).toEqual([0, 1535, 0, 9, 1535]);
    draw(2);
    const chosen = list.el.querySelector("[aria-selected=true]")!;
    expect(chosen.getAttribute("aria-label")).toBe("row 2");
    expect(list.el.getAttribute("aria-activedescendant")).toBe(chosen.id);
    expect(chosen.getAttribute("aria-posinset")).toBe("3");
    all(list.el, "[role=option]")[4]!.click();
    expect(picked.at(-1)).toBe(4);
  });
});
