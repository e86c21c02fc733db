import { describe, expect, it, vi } from "vitest";
import { manifest, source, type TestSource } from "../../fixture.ts";
import { all, show } from "../../mounted.ts";

const units = (root: HTMLElement, group: string) =>
  all(root, `.tl-units [aria-label="${group}"] [data-unit]`).map(({ dataset }) => dataset.unit);
const caption = (root: HTMLElement) =>
  root.querySelector(".tl-unit-block .tl-caption")!.textContent!;
const bars = (root: HTMLElement) => all(root, ".tl-units .tl-needle");

describe("which units mattered at the selected token", () => {
  it("outranks activation once it is estimated, and again once it is measured", async () => {
    const made = manifest();
    const from = source(made);
    let measured = () => {};
    const slow: TestSource = {
      ...from,
      get: async (key, signal, progress) => {
        if (key === "units/1/7")
          await new Promise<void>((resolve) => {
            measured = resolve;
          });
        return from.get(key, signal, progress);
      },
    };
    const state = { token: 7, layer: 1, _recorded: false };
    const { root, settled } = await show("concepts", made, slow, state);
    await vi.waitFor(() => expect(caption(root)).toContain("Estimated, to be measured"));
    await settled();
    expect(units(root, "concepts").slice(0, 2)).toEqual(["component:1", "component:2"]);
    expect(bars(root).every(({ dataset }) => dataset.look === "hatched")).toBe(true);
    measured();
    await vi.waitFor(() => expect(caption(root)).toContain("Measured, largest first"));
    await settled();
    expect(caption(root)).toContain("nats that “\u2068DOG\u2069” loses without the unit there");
    expect(units(root, "concepts").slice(0, 2)).toEqual(["component:2", "component:1"]);
    // Then the most active, as they are listed.
    expect(units(root, "neurons")).toEqual(["neuron:3", "neuron:9", "neuron:7"]);
    expect(bars(root).every(({ dataset }) => dataset.look === "solid")).toBe(true);
    expect(root.querySelector("[data-unit='component:2']")!.getAttribute("aria-label")).toContain(
      "measured effect base 0, tuned 1 nats",
    );
    expect(root.querySelector("h2")!.textContent).toContain("Concept 2");
  });

  it("is shown where it is recorded, and nothing is asked for without a token", async () => {
    const made = manifest();
    const from = source(made);
    const recorded = { ...from, has: (key: string) => key === "units/1/7" };
    const { root, store, settled } = await show("concepts", made, recorded, { token: 7, layer: 1 });
    expect(caption(root)).toContain("Measured, largest first");
    expect(from.asked).not.toContain("units/1/7/estimate");
    store.select({ token: -1 });
    await settled();
    expect(caption(root)).toContain("most turned first");
  });
});
