import { describe, expect, it } from "vitest";
import type { Tensor } from "../../../src/contract/decode.ts";
import { decidedAt } from "../../../src/panels/overview/lens.ts";
import { manifest, source } from "../../fixture.ts";
import { all, show } from "../../mounted.ts";

const VIEW = { overview: { tab: "lens" } };
const caption = (root: HTMLElement) => root.querySelector(".tl-caption")!.textContent!;

/** A table with these ranks, by layer and token. */
const ranked = (...layers: number[][]): Tensor => ({
  shape: [layers.length, layers[0]!.length, 2],
  data: Float32Array.from(layers.flat().flatMap((rank) => [-rank, rank])),
});

describe("the lens of the answer", () => {
  it("is decided at the first layer from which the rank stays 1", () => {
    const table = ranked([1, 1, 2, 1], [2, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 2]);
    expect([0, 1, 2, 3].map((token) => decidedAt(table, token))).toEqual([2, 0, 1, -1]);
  });

  it("shows both models, reads with either unembedding, and says where tokens are decided", async () => {
    const made = manifest();
    const from = source(made);
    const tables: Record<string, Tensor> = {
      "lens_table/base/base": ranked([9, 9], [5, 1], [3, 1], [2, 1]),
      "lens_table/tuned/tuned": ranked([9, 9], [1, 2], [1, 3], [1, 1]),
      "lens_table/base/tuned": ranked([9, 9], [5, 1], [3, 1], [1, 1]),
    };
    const get = from.get.bind(from);
    from.get = (key, signal) =>
      key in tables ? Promise.resolve(tables[key] as never) : get(key, signal);
    const state = { view: VIEW, _recorded: false };
    const { root, store, settled } = await show("overview", made, from, state);
    expect(caption(root)).toContain("1 of 2 in base, 2 of 2 in tuned");
    const label = (side: string) =>
      root.querySelector(`[data-lens=${side}]`)!.getAttribute("aria-label");
    expect(label("base")).toContain("THE never, DOG from layer 0");
    expect(label("tuned")).toContain("THE from layer 0, DOG from layer 2");
    store.select({ token: 6 });
    await settled();
    expect(caption(root)).toContain("never in base, from layer 0 in tuned");
    const reader = root.querySelector<HTMLSelectElement>(".tl-lens select")!;
    reader.value = "tuned";
    reader.dispatchEvent(new Event("change"));
    await settled();
    expect(caption(root)).toContain("from layer 2 in base, from layer 0 in tuned");
  });

  it("asks for nothing that a recording does not hold", async () => {
    const made = manifest();
    const from = source(made);
    const { root } = await show("overview", made, from, { view: VIEW });
    expect(caption(root)).toContain("not computed when this was saved");
    expect(from.asked).toEqual([]);
    expect(all(root, ".tl-gone")).toHaveLength(1);
  });
});
