import { describe, expect, it, vi } from "vitest";
import { tokenStrip } from "../../../src/panels/saliency/token_strip.ts";

describe("a long text", () => {
  it("is drawn where it is in sight, the rest when it comes there", () => {
    let show: (entries: { target: Element; isIntersecting: boolean }[]) => void = () => {};
    const watched: Element[] = [];
    vi.stubGlobal(
      "IntersectionObserver",
      class {
        constructor(callback: typeof show) {
          show = callback;
        }
        observe = (el: Element) => watched.push(el);
      },
    );
    const tokens = Array.from({ length: 2000 }, (_, i) => {
      return { text: ` w${i}`, segment: "other" as const, id: i, start: i, end: i + 1 };
    });
    const strip = tokenStrip(tokens, 0);
    const value = (i: number) =>
      strip.buttons[i]!.querySelector<HTMLElement>(".tl-up > .tl-bar")!.dataset.value;
    const bars = (of: number) =>
      strip.bars({ base: new Float64Array(2000).fill(of), tuned: null }, 4, () => "solid");
    bars(1);
    vi.unstubAllGlobals();
    expect(watched).toHaveLength(2000);
    show([{ target: strip.buttons[3]!, isIntersecting: true }]);
    bars(2);
    expect([value(3), value(4)]).toEqual(["2", undefined]);
    show([{ target: strip.buttons[4]!, isIntersecting: true }]);
    expect(value(4)).toBe("2");
    show([{ target: strip.buttons[3]!, isIntersecting: false }]);
    bars(3);
    expect([value(3), value(4)]).toEqual(["2", "3"]);
    show([{ target: strip.buttons[3]!, isIntersecting: true }]);
    expect(value(3)).toBe("3");
  });
});
