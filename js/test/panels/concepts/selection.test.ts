import { describe, expect, it } from "vitest";
import { COMPONENTS, manifest } from "../../fixture.ts";
import { all, show } from "../../mounted.ts";

describe("concepts", () => {
  it("places the words of both models in three zones", async () => {
    const { root } = await show("concepts", manifest(), undefined, {
      layer: 1,
      unit: "component:2",
    });
    const words = all(root, "[data-word]");
    const zones = new Set(words.map((word) => word.dataset.zone));
    expect([...zones].every((zone) => ["base", "both", "tuned"].includes(zone!))).toBe(true);
    const names = words.map((word) => word.dataset.word);
    expect(new Set(names).size).toBe(names.length);
    expect(root.querySelector("h2")!.textContent).toBe(
      "Concept 2 of layer 1 and its match in tuned",
    );
  });

  it("lists the units and selects the clicked one", async () => {
    const { root, store, settled } = await show("concepts", manifest(), undefined, {
      token: 7,
      layer: 1,
    });
    const units = all(root, "[data-unit]").map((unit) => unit.dataset.unit);
    expect(units.filter((unit) => unit!.startsWith("component"))).toHaveLength(COMPONENTS);
    root.querySelector<HTMLElement>("[data-unit='neuron:7']")!.click();
    await settled();
    expect(store.selection).toMatchObject({ layer: 1, unit: "neuron:7" });
    expect(root.querySelector("h2")!.textContent).toContain("Neuron 7 of layer 1");
  });
});
