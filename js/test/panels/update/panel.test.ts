import { describe, expect, it, vi } from "vitest";
import { keys } from "../../../src/contract/contract.ts";
import { dialled, undialled } from "../../../src/contract/units.ts";
import type { Source } from "../../../src/sources/source.ts";
import { manifest, source } from "../../fixture.ts";
import { all, numbers, show } from "../../mounted.ts";

const caption = (root: HTMLElement) => root.querySelector(".tl-caption")!.textContent!;

/** A dashboard whose models are there and can be turned, and which keys it asks for. */
async function showTurnable() {
  const made = manifest();
  const from = source(made);
  const asked: string[] = [];
  const turned: Source = {
    ...from,
    get(key, signal) {
      asked.push(key);
      return from.get(undialled(key), signal);
    },
  };
  const shown = await show("dashboard", made, turned, {
    _recorded: false,
    view: { dashboard: { layout: "grid" }, update: { asked: true } },
  });
  return { ...shown, asked };
}

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
    expect(said()).toMatch(/^× 0: .* nats, answers .*cat/);
    expect(dial().getAttribute("aria-valuetext")).toBe(said());
    expect(root.querySelector(".tl-dial-now")!.getAttribute("cx")).not.toBe(before);
    store.select({ layer: 2 });
    await settled();
    expect(said()).toMatch(/^× 0: /);
  });

  it("is followed by the other panels where the models are there, and taken back", async () => {
    const { asked, root, store, settled } = await showTurnable();
    const dial = () => root.querySelector<HTMLInputElement>("input.tl-dial")!;
    dial().focus();
    expect(asked.filter((key) => key.startsWith("dial/"))).toEqual([]);
    asked.length = 0;
    dial().value = "2";
    dial().dispatchEvent(new Event("input"));
    await vi.waitFor(() => expect(store.place).toBe("2"));
    await vi.waitFor(() => expect(all(root, ".tl-turned")).toHaveLength(6));
    await settled();
    expect(asked).toContain(dialled(keys.logprob("tuned"), "2"));
    const still: string[] = [keys.updateFinding(), keys.bokehScript()];
    const others = asked.filter((key) => !still.includes(key));
    expect(others.filter((key) => !key.startsWith("dial/2/"))).toEqual([]);
    expect(dial().value).toBe("2");
    expect(root.querySelector(".tl-models")!.textContent).toContain("base + 2 × update");
    asked.length = 0;
    all(root, ".tl-turned")[0]!.click();
    await vi.waitFor(() => expect(all(root, ".tl-turned")).toHaveLength(0));
    await settled();
    expect(asked.filter((key) => key.startsWith("dial/"))).toEqual([]);
    expect(dial().value).toBe("1");
  });

  it("turns the selected layer, kind of matrix or direction alone", async () => {
    const { asked, root, store, settled } = await showTurnable();
    const choice = () => root.querySelector<HTMLSelectElement>(".tl-dial-part select")!;
    const offered = () => [...choice().options].filter((o) => !o.disabled).map((o) => o.value);
    expect(offered()).toEqual([""]);
    all(root, "button[data-direction]")[1]!.click();
    await settled();
    expect(offered()).toEqual(["", "layer:1", "kind:o_proj", "direction:7"]);
    const pick = async (value: string) => {
      choice().value = value;
      choice().dispatchEvent(new Event("change"));
      await settled();
    };
    await pick("kind:o_proj");
    expect(asked).toContain(keys.updateDial("kind:o_proj"));
    expect(store.place).toBe("");
    expect(root.querySelector(".tl-dial-said")!.textContent).toMatch(/^× 1: /);
    expect(root.querySelector(".tl-update-curves")!.textContent).toContain("in every o_proj");
    const dial = () => root.querySelector<HTMLInputElement>("input.tl-dial")!;
    dial().value = "0";
    dial().dispatchEvent(new Event("input"));
    expect(root.querySelector(".tl-dial-said")!.textContent).toContain("without kind:o_proj");
    await vi.waitFor(() => expect(all(root, ".tl-turned")).toHaveLength(6));
    await settled();
    expect(asked).toContain(dialled(keys.logprob("tuned"), "0@kind:o_proj"));
    expect(asked.filter((key) => key.includes("dial/") && key.endsWith("update"))).toEqual([]);
    const head = () => root.querySelector(".tl-models")!.textContent;
    expect(head()).toContain("(update × 0 in every o_proj)");
    // Another direction is looked at: what is turned stays, until it is chosen.
    all(root, "button[data-direction]")[0]!.click();
    await settled();
    expect(choice().value).toBe("kind:o_proj");
    await pick("direction:0");
    await vi.waitFor(() => expect(all(root, ".tl-turned")).toHaveLength(0));
    store.setOptions("update", { scale: 2 });
    await vi.waitFor(() => expect(head()).toContain("(update × 2 along 0 down_proj · 0)"));
    await settled();
    expect(store.place).toBe("2@direction:0");
    expect(root.querySelectorAll("img, script")).toHaveLength(0);
  });

  it("of a page turns nothing else", async () => {
    const { root, store } = await show("update");
    const dial = root.querySelector<HTMLInputElement>("input.tl-dial")!;
    dial.value = "0";
    dial.dispatchEvent(new Event("input"));
    await vi.waitFor(() => expect(store.options.update.scale).toBe(0));
    expect(store.place).toBe("");
    expect(root.textContent).toContain("The other panels stay with tuned");
    expect(root.querySelector<HTMLElement>(".tl-dial-part")!.hidden).toBe(true);
  });

  it("marks where the chosen direction acts, and what it goes through", async () => {
    const { root, store, settled } = await show("dashboard");
    store.setOptions("update", { chosen: 7 });
    store.select({ layer: 1 });
    await settled();
    expect(all(root, "[data-acts]").map((token) => token.dataset.token)).toEqual(["1"]);
    expect(root.querySelector(".tl-notes")!.textContent).toContain("by direction 1 o_proj · 1 of");
    expect(all(root, ".tl-served").length).toBe(3);
    expect(root.querySelector(".tl-heads .tl-caption")!.textContent).toContain("1 o_proj · 1");
    store.setOptions("update", { chosen: -1 });
    await settled();
    expect(all(root, "[data-acts], .tl-served")).toEqual([]);
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
