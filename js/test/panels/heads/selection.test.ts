import { describe, expect, it, vi } from "vitest";
import type { Tensor } from "../../../src/contract/decode.ts";
import type { Source } from "../../../src/sources/source.ts";
import { manifest, source, value } from "../../fixture.ts";
import { all, press, show } from "../../mounted.ts";

describe("heads", () => {
  const grid = (root: HTMLElement) => root.querySelector<HTMLElement>(".tl-grids")!;
  const painted = (root: HTMLElement) =>
    (
      root.querySelector(".tl-grids canvas") as unknown as {
        twinlens: { values: Record<string, ArrayLike<number>> };
      }
    ).twinlens.values;

  it("shows attention to the instruction at the reading position, and the difference", async () => {
    const { root, made } = await show("heads", manifest(), undefined, { token: 7 });
    const wanted = (side: string) =>
      [...(value(made, `heads/instruction/${side}`) as Tensor).data].slice(6 * 12, 7 * 12);
    const values = painted(root);
    expect(Array.from(values.base!)).toEqual(wanted("base"));
    expect(Array.from(values.tuned!)).toEqual(wanted("tuned"));
    expect(values.third![5]).toBeCloseTo(wanted("tuned")[5]! - wanted("base")[5]!, 6);
  });

  it("selects with the arrow keys and stays inside the grid", async () => {
    const { root, store, settled } = await show("heads");
    expect(grid(root).dataset.layers).toBe("3");
    press(grid(root), "ArrowDown");
    expect(store.selection).toMatchObject({ layer: 0, head: 0 });
    for (const key of ["ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"]) press(grid(root), key);
    expect(store.selection).toMatchObject({ layer: 1, head: 1 });
    for (let i = 0; i < 9; i++) press(grid(root), "ArrowDown");
    expect(store.selection).toMatchObject({ layer: 2, head: 1 });
    await settled();
    expect(grid(root).getAttribute("aria-label")).toContain("layer 2, head 1: base");
    expect(root.querySelector("h3")!.textContent).toBe("Layer 2, head 1");
  });

  it("shows the next best where what heads write cannot be computed", async () => {
    const made = manifest();
    const good = source(made);
    const from: Source = {
      has: () => false,
      get: (key, signal) =>
        key.startsWith("heads/write")
          ? Promise.reject(new Error(`${key} is out of reach`))
          : good.get(key, signal),
    };
    const state = { token: 7, layer: 1, unit: "component:2", _recorded: false };
    const { root } = await show("heads", made, from, state);
    const { data } = value(made, "heads/instruction/base") as Tensor;
    expect(Array.from(painted(root).base!)).toEqual([...data.slice(6 * 12, 7 * 12)]);
    expect(root.querySelector(".tl-caption")!.textContent).toContain("component:2 is out of reach");
    expect(root.querySelector<HTMLElement>("[data-panel]")!.dataset.state).toBe("ready");
  });

  it("moves along tokens with the arrow keys in the maps", async () => {
    const { root, store } = await show("heads", manifest(), undefined, { token: 6 });
    const maps = root.querySelector(".tl-maps")!;
    press(maps, "ArrowDown");
    press(maps, "ArrowDown");
    expect(store.selection.token).toBe(7);
    for (let i = 0; i < 9; i++) press(maps, "ArrowUp");
    expect(store.selection.token).toBe(0);
  });

  it("shows the head that changed most when none is selected", async () => {
    const { root, made, store } = await show("heads");
    const { data } = value(made, "heads/change") as Tensor;
    const mean = Array.from({ length: 12 }, (_, i) => {
      let sum = 0;
      for (let c = 0; c < 8; c++) sum += data[c * 12 + i]!;
      return sum / 8;
    });
    const best = mean.indexOf(Math.max(...mean));
    const name = `Layer ${Math.floor(best / 4)}, head ${best % 4}`;
    expect(root.querySelector("h3")!.textContent).toBe(name);
    // The change is one number for the pair: one map, and nothing of another measure beside it.
    store.setOptions("heads", { measure: "change" });
    await vi.waitFor(() => expect(Array.from(painted(root).base!).every(Number.isNaN)).toBe(true));
    Array.from(painted(root).third!).forEach((v, i) => {
      expect(v).toBeCloseTo(mean[i]!, 6);
    });
    const pictures = all(root, ".tl-grids .tl-picture").map((picture) => picture.hidden);
    expect(pictures).toEqual([true, true, false]);
  });
});
