import { describe, expect, it } from "vitest";
import { CARRIED, manifest, source } from "../../fixture.ts";
import { all, numbers, show } from "../../mounted.ts";

const caption = (root: HTMLElement) => root.querySelector(".tl-caption")!.textContent!;

describe("what carries the difference", () => {
  it("adds one part a row up to the goal, beside as many random parts", async () => {
    const { root, store, settled } = await show("carried");
    const rows = all(root, "[data-part]");
    expect(rows.map((row) => row.querySelector(".tl-carried-name")!.textContent)).toEqual([
      "feed-forward 1",
      "+ head 2.3",
    ]);
    expect(numbers(root, ".tl-carried-value[data-value]")).toEqual([2, 3.4]);
    // The smaller of the shares of shift and KL.
    const bar = (i: number) => rows[i]!.querySelector<HTMLElement>("[data-kind=adds]")!.style;
    expect([bar(0).left, bar(0).width]).toEqual(["0.00%", "50.00%"]);
    expect([bar(1).left, bar(1).width]).toEqual(["50.00%", "35.00%"]);
    expect(Number(root.querySelector<HTMLElement>("[data-random]")!.dataset.random)).toBeCloseTo(
      0.2,
    );
    expect(caption(root)).toContain("2 parts of 8 carry 85 %");
    rows[1]!.click();
    await settled();
    expect([store.selection.layer, store.selection.head]).toEqual([2, 3]);
    expect(all(root, "[aria-pressed=true]")).toHaveLength(1);
    all(root, "[data-part]")[1]!.click();
    await settled();
    expect(store.selection.layer).toBe(-1);
  });

  it("follows the answer token, and stays with the answer for the prompt", async () => {
    const made = manifest();
    const from = source(made);
    const { root, store, settled } = await show("carried", made, from, { token: 7 });
    expect(from.asked).toContain("carried/1");
    expect(root.querySelector("h2")!.textContent).toContain("DOG");
    store.select({ token: 2 });
    await settled();
    expect(from.asked).toContain("carried/answer");
    expect(root.querySelector("h2")!.textContent).toBe("What carries it");
  });

  it("of a large live model measures one token alone when asked for it", async () => {
    const made = manifest();
    made.pair.hidden = 4096;
    const from = source(made);
    const state = { token: 7, _recorded: false };
    const { root, settled } = await show("carried", made, from, state);
    expect(from.asked).toEqual(["carried/answer"]);
    root.querySelector<HTMLElement>(".tl-controls button")!.click();
    await settled();
    expect(from.asked).toContain("carried/1");
    expect(root.querySelector("h2")!.textContent).toContain("DOG");
    expect(root.querySelector<HTMLElement>(".tl-controls button")!.hidden).toBe(true);
  });

  it("says why there is nothing to show", async () => {
    const own = await show("carried", manifest({ shared: false }));
    expect(caption(own.root)).toContain("only where both read one answer");
    const made = manifest();
    const of = (value: unknown) => ({
      ...source(made),
      get: () => Promise.resolve(value as never),
    });
    const none = await show("carried", made, of({ ...CARRIED, parts: [] }));
    expect(caption(none.root)).toContain("hardly differ");
    const short = await show("carried", made, of({ ...CARRIED, goal: 0.95 }));
    expect(caption(short.root)).toContain("95 % is not reached");
  });
});
