import { describe, expect, it, vi } from "vitest";
import { mount } from "../../../src/shell/mount.ts";
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

  it("is shown alike in two cells of one explorer, and its view is kept", async () => {
    const made = manifest();
    const first = await show("concepts", made, undefined, { layer: 1, _recorded: false });
    const { store, model, settled } = first;
    const root = document.createElement("div");
    document.body.append(root);
    await mount(store, "concepts", root, store.signal);
    const roots = [first.root, root];
    const both = (read: (cell: HTMLElement) => unknown) => roots.map(read);
    const loaded = () =>
      vi.waitFor(() => {
        const states = both(
          (cell) => cell.querySelector<HTMLElement>("[data-panel]")!.dataset.state,
        );
        expect(states).toEqual(["ready", "ready"]);
      });
    const click = async (selector: string) => {
      first.root.querySelector<HTMLElement>(selector)!.click();
      await settled();
      await loaded();
    };
    await click("[data-tab=components]");
    await click("[data-sort=angle]");
    const falling = Array.from({ length: COMPONENTS }, (_, k) => `component:${COMPONENTS - 1 - k}`);
    const units = (cell: HTMLElement) => all(cell, "tr [data-unit]").map((one) => one.dataset.unit);
    expect(both(units)).toEqual([falling, falling]);
    const heading = first.root.querySelector<HTMLElement>("[data-sort=angle]");
    expect(document.activeElement).toBe(heading);

    await click("[data-word=dog]");
    const words = (cell: HTMLElement) =>
      cell.querySelector<HTMLInputElement>("input[type=search]")!.value;
    expect(both(words)).toEqual(["dog", "dog"]);
    expect(both((cell) => all(cell, "[data-found]").length)).toEqual([2, 2]);
    // What is being typed stays when something else moves.
    root.querySelector<HTMLInputElement>("input[type=search]")!.value = "ca";
    store.select({ unit: "component:1" });
    await settled();
    await loaded();
    expect(words(root)).toBe("ca");

    await click("[data-tab=neurons]");
    const order = root.querySelector<HTMLSelectElement>("[aria-label='Order of the neurons']")!;
    order.value = "effect";
    order.dispatchEvent(new Event("change"));
    await loaded();
    const neurons = (cell: HTMLElement) => all(cell, ".tl-neuron").map((one) => one.dataset.unit);
    expect(neurons(first.root)).toHaveLength(12);
    expect(neurons(root)).toEqual(neurons(first.root));

    const view = {
      ...{ tab: "neurons", sort: { by: "angle", falls: true } },
      ...{ order: "effect", word: "dog" },
    };
    expect(model.get("view")).toEqual({ concepts: view });
    // A page that kept it opens with it.
    const page = await show("concepts", made, undefined, { layer: 1, view: { concepts: view } });
    expect(neurons(page.root)).toEqual(neurons(root));
  });
});
