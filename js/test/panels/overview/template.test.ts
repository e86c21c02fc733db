import { describe, expect, it } from "vitest";
import { manifest, source } from "../../fixture.ts";
import { all, numbers, show } from "../../mounted.ts";

const TAB = { view: { overview: { tab: "template" } }, _recorded: false };
const caption = (root: HTMLElement) => root.querySelector(".tl-caption")!.textContent!;
const words = (root: HTMLElement) => root.querySelector(".tl-effects-in-words")?.textContent;

describe("weights or template", () => {
  it("shows four numbers, what lies between them, and both in words", async () => {
    const { root, store, settled } = await show("overview", manifest(), undefined, TAB);
    // Row by row: base, tuned, and what the weights add; the last column is the template's.
    expect(numbers(root, "[data-value]")).toEqual([-13, -10, 3, -10, -1.5, 8.5, 3, 8.5, 5.5]);
    expect(words(root)).toContain("Weights +8.5 (tuned");
    expect(words(root)).toContain("template +8.5 (in it");
    expect(words(root)).toContain("together +5.5 nats: this much of both");
    expect(caption(root)).toContain("of the answer");
    expect(caption(root)).toContain("2 tokens");
    store.select({ token: 7 });
    await settled();
    expect(numbers(root, "[data-value]")).toEqual([-8, -6, 2, -7, -0.5, 6.5, 1, 5.5, 4.5]);
    expect(caption(root)).toContain("DOG");
    store.select({ token: 2 });
    await settled();
    expect(caption(root)).toContain("of the answer");
  });

  it("asks for nothing where there is no template or no common answer", async () => {
    const plain = manifest();
    for (const token of plain.prompt_tokens) {
      if (token.segment === "template") token.segment = "other";
    }
    for (const [made, state, said] of [
      [plain, TAB, "trace it with template=True"],
      [manifest({ shared: false }), TAB, "only where both read one answer"],
      [manifest(), { view: TAB.view }, "not computed when this was saved"],
    ] as const) {
      const from = source(made);
      const { root } = await show("overview", made, from, state);
      expect(caption(root)).toContain(said);
      expect(all(root, "table")).toEqual([]);
      expect(from.asked).toEqual([]);
    }
  });

  it("is one of the tabs", async () => {
    const { root, store } = await show("overview", manifest(), undefined, TAB);
    root.querySelector<HTMLElement>("[data-tab=layers]")!.click();
    expect(store.options.overview.tab).toBe("layers");
  });
});
