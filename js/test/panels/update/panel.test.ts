import { describe, expect, it } from "vitest";
import { manifest, source } from "../../fixture.ts";
import { all, numbers, show } from "../../mounted.ts";

const caption = (root: HTMLElement) => root.querySelector(".tl-caption")!.textContent!;

describe("the update", () => {
  it("shows how few directions keep the shift, beside other orders", async () => {
    const { root } = await show("update");
    expect(caption(root)).toContain("3 of 100 directions keep 92 % of the 10");
    expect(caption(root)).toContain("23 by size, 43 by first order, 63 at random");
    expect(numbers(root, ".tl-kept-legend li")).toEqual([3, 23, 43, 63]);
    expect(all(root, ".tl-kept-line")).toHaveLength(5);
    expect(numbers(root, ".tl-direction-value")).toEqual([3, 1, -1]);
    expect(root.querySelectorAll("img, script")).toHaveLength(0);
  });

  it("selects what a direction goes through, and where it acts", async () => {
    const { root, store, settled } = await show("update");
    all(root, "button[data-direction]")[1]!.click();
    await settled();
    expect([store.selection.layer, store.selection.head]).toEqual([1, 1]);
    expect(root.querySelector(".tl-update-card h3")!.textContent).toBe("1 o_proj · 1");
    root.querySelector<HTMLElement>("[data-at]")!.click();
    await settled();
    expect(store.selection.token).toBe(1);
    all(root, "button[data-direction]")[0]!.click();
    await settled();
    expect([store.selection.layer, store.selection.unit]).toEqual([0, "neuron:3"]);
    all(root, "button[data-direction]")[0]!.click();
    await settled();
    expect(store.selection.layer).toBe(-1);
    expect(root.querySelector(".tl-update-card")!.childElementCount).toBe(0);
  });

  it("marks the directions of a layer that is selected elsewhere", async () => {
    const { root, store, settled } = await show("update");
    store.select({ layer: 2 });
    await settled();
    const touched = all(root, "[data-touched]").map((row) => row.dataset.direction);
    expect(touched).toEqual(["2"]);
  });

  it("is turned up and down, and stays where it was turned to", async () => {
    const { root, store, settled } = await show("update");
    const dial = () => root.querySelector<HTMLInputElement>("input[type=range]")!;
    const said = () => root.querySelector("output")!.textContent!;
    expect(said()).toMatch(/^× 1: /);
    const before = root.querySelector(".tl-dial-now")!.getAttribute("cx");
    dial().value = "0";
    dial().dispatchEvent(new Event("input"));
    expect(said()).toMatch(/^× 0: .* nats$/);
    expect(dial().getAttribute("aria-valuetext")).toBe(said());
    expect(root.querySelector(".tl-dial-now")!.getAttribute("cx")).not.toBe(before);
    store.select({ layer: 2 });
    await settled();
    expect(said()).toMatch(/^× 0: /);
  });

  it("of a live trace is asked for, and says why it is not there", async () => {
    const made = manifest();
    const from = source(made);
    const live = await show("update", made, from, { _recorded: false });
    expect(from.asked).toEqual([]);
    live.root.querySelector<HTMLElement>(".tl-controls button")!.click();
    await live.settled();
    expect(from.asked).toEqual(["update"]);
    expect(all(live.root, "button[data-direction]")).toHaveLength(3);
    const own = await show("update", manifest({ shared: false }));
    expect(caption(own.root)).toContain("own answer");
  });
});
