import { describe, expect, it } from "vitest";
import { manifest, source } from "../../fixture.ts";
import { show } from "../../mounted.ts";

const VIEW = { overview: { tab: "handover" } };
const caption = (root: HTMLElement) => root.querySelector(".tl-caption")!.textContent!;
const painted = (root: HTMLElement) =>
  [...root.querySelectorAll(".tl-chart")].map(
    (chart) => (chart as unknown as { twinlens?: { values: Record<string, number[]> } }).twinlens,
  );

describe("handing layers over", () => {
  it("shows both ways, of the answer or of one token, and says where half is reached", async () => {
    const state = { view: VIEW, _recorded: false };
    const { root, store, settled } = await show("overview", manifest(), undefined, state);
    const values = () => painted(root).find((chart) => chart)!.values;
    // A line has the name of the model above.
    expect(values().tuned).toEqual([-1, -2, -6, -9]);
    expect(values().base).toEqual([-9, -3, -1, -1]);
    expect(values().tuned_kl).toEqual([0, 2, 6, 9]);
    expect(values().layer).toEqual([0, 1, 2, 3]);
    expect(caption(root)).toContain("base comes half the way to tuned on 1 layer of tuned");
    expect(caption(root)).toContain("tuned falls half the way to base on 2 layers of base");
    store.select({ token: 7 });
    await settled();
    expect(values().tuned).toEqual([0, -1, -2, -3]);
    expect(caption(root)).toContain("DOG");
  });

  it("asks for nothing that there is not", async () => {
    for (const [made, said] of [
      [manifest({ shared: false }), "only where both read one answer"],
      [manifest(), "not computed when this was saved"],
    ] as const) {
      const from = source(made);
      const { root } = await show("overview", made, from, { view: VIEW });
      expect(caption(root)).toContain(said);
      expect(from.asked).toEqual([]);
    }
  });
});
