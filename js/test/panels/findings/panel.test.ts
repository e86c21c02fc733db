import { describe, expect, it } from "vitest";
import type { Source } from "../../../src/sources/source.ts";
import { manifest, source } from "../../fixture.ts";
import { all, press, show } from "../../mounted.ts";

describe("the findings", () => {
  it("are sentences that select what shows them, and let go again", async () => {
    const { root, store, settled } = await show("findings");
    const rows = () => all(root, "button[data-finding]");
    expect(rows()[0]!.textContent).toBe("Tuned copies. DOG rests on its twin in tunedmeasured");
    expect(rows()[0]!.querySelector("[data-side]")!.textContent).toBe("tuned");
    expect(root.querySelector("[data-finding] b b")).toBeNull(); // text stays text
    store.select({ token: 3, layer: 0 });
    rows()[1]!.click();
    await settled();
    expect(store.selection).toEqual({ token: -1, layer: 2, head: 3, unit: "" });
    expect(rows().map((row) => row.getAttribute("aria-pressed"))).toEqual(["false", "true"]);
    rows()[0]!.click();
    await settled();
    expect(store.selection).toEqual({ token: 7, layer: -1, head: -1, unit: "" });
    rows()[0]!.click();
    await settled();
    expect(store.selection.token).toBe(-1);
    expect(rows()[0]!.getAttribute("aria-pressed")).toBe("false");
  });

  it("are stepped through with the arrow keys", async () => {
    const { root } = await show("findings");
    const [first, second] = all(root, "button[data-finding]");
    first!.focus();
    press(first!, "End");
    expect(document.activeElement).toBe(second);
    expect(second!.tabIndex).toBe(0);
  });

  it("have one more once the update is taken apart", async () => {
    const made = manifest();
    const said = [
      { kind: "update", title: "Few keep it.", text: [], checked: "", panel: "update" },
    ];
    const from = (has: boolean): Source => ({
      ...source(made),
      has: (key) => has || key !== "update",
      get: (key, ...rest) =>
        key === "update/finding"
          ? Promise.resolve(said.map((one) => ({ ...one, selection: {} })) as never)
          : source(made).get(key, ...rest),
    });
    for (const has of [false, true]) {
      const { root } = await show("findings", made, from(has));
      expect(all(root, "button[data-kind=update]")).toHaveLength(Number(has));
      expect(all(root, "button[data-finding]")).toHaveLength(2 + Number(has));
    }
  });

  it("say in a sentence that nothing changed, and that a recording has none", async () => {
    const made = manifest();
    const nothing = [
      { kind: "nothing", title: "Nothing.", text: [], checked: "", panel: "", selection: {} },
    ];
    const of = (value?: unknown): Source => ({
      ...source(made),
      get: () =>
        value ? Promise.resolve(value as never) : Promise.reject(new Error("not recorded")),
    });
    const { root } = await show("findings", made, of(nothing));
    expect(all(root, "button[data-finding]")).toHaveLength(0);
    expect(root.querySelector("p.tl-finding")!.textContent).toContain("Nothing.");
    const without = await show("findings", made, of());
    expect(without.root.querySelector<HTMLElement>("[data-panel]")!.dataset.state).toBe("ready");
    expect(without.root.textContent).toContain("made without findings");
  });
});
