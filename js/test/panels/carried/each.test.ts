import { describe, expect, it } from "vitest";
import { manifest, source } from "../../fixture.ts";
import { all, show } from "../../mounted.ts";

const caption = (root: HTMLElement) => root.querySelector(".tl-caption")!.textContent!;
const each = { _recorded: false, view: { carried: { view: "each" } } };
const values = (row: HTMLElement) =>
  all(row, ".tl-each-cell").map((cell) => Number(cell.dataset.value));
const pick = (root: HTMLElement, label: string, value: string) => {
  const select = root.querySelector<HTMLSelectElement>(`select[aria-label="${label}"]`)!;
  select.value = value;
  select.dispatchEvent(new Event("change"));
};

describe("what goes with each part", () => {
  it("has the output of every layer and its two blocks, from one zero line", async () => {
    const from = source(manifest());
    const { root, store, settled } = await show("carried", manifest(), from, each);
    expect(from.asked).toEqual(["exchanged/tuned/everywhere/answer"]);
    const rows = all(root, ".tl-each-row");
    expect(rows.map(values)).toEqual([
      [0.1].map(Math.fround),
      [1, 0.5, -0.5],
      [3, 2, 0.25],
      [4, 0, 1],
    ]);
    const bars = all(rows[1]!, ".tl-carried-bar").map(({ style }) => [style.left, style.width]);
    // From -0.5 to 4 nats.
    expect(bars[2]).toEqual(["0.00%", "11.11%"]);
    expect(bars[0]).toEqual(["11.11%", "22.22%"]);
    expect(all(root, "[data-most]").map((cell) => Number(cell.dataset.value))).toEqual([2, 4, 1]);
    expect(caption(root)).toContain("What tuned loses of the answer, in nats");
    expect(caption(root)).toContain("at every position");

    all(root, "button[data-row]")[1]!.click();
    await settled();
    expect(store.selection.layer).toBe(1);
    expect(from.asked).toContain("exchanged/tuned/everywhere/answer/1");
    const heads = all(root, ".tl-each-group")[1]!;
    expect(all(heads, ".tl-carried-name").map((name) => name.textContent)).toEqual(
      [0, 1, 2, 3].map((head) => `head 1.${head}`),
    );
    all(heads, "button")[2]!.click();
    await settled();
    expect([store.selection.layer, store.selection.head]).toEqual([1, 2]);
    store.select({ unit: "neuron:5" });
    await settled();
    expect(from.asked).toContain("exchanged/tuned/everywhere/answer/1/5");
    expect(all(root, ".tl-each-group")[2]!.textContent).toContain("neuron 1.5");
  });

  it("lists neurons of the selected layer once they are asked for", async () => {
    const listed = (key: string) => key.startsWith("exchanged_neurons");
    const there = new Set<string>();
    const from = source(manifest());
    const get: typeof from.get = (key, ...rest) => {
      if (listed(key)) there.add(key);
      return from.get(key, ...rest);
    };
    const lazy = { ...from, get, has: (key: string) => !listed(key) || there.has(key) };
    const state = { ...each, layer: 1 };
    const { root, store, settled } = await show("carried", manifest(), lazy, state);
    expect(there.size).toBe(0);
    const ask = () => all(root, ".tl-controls button").find((one) => !one.hidden);
    expect(ask()!.textContent).toBe("measure neurons of layer 1");
    ask()!.click();
    await settled();
    expect([...there]).toEqual(["exchanged_neurons/tuned/everywhere/answer/1"]);
    expect(ask()).toBeUndefined();
    const group = all(root, ".tl-each-group")[2]!;
    // The first six of them.
    expect(all(group, ".tl-carried-name").map((name) => name.textContent)).toEqual(
      [3, 5, 8, 2, 0, 6].map((neuron) => `neuron 1.${neuron}`),
    );
    expect(all(group, ".tl-each-row").map(values)).toEqual([2, 1, 0, -1, -2, -3].map((x) => [x]));
    all(group, "button")[1]!.click();
    await settled();
    expect([store.selection.layer, store.selection.unit]).toEqual([1, "neuron:5"]);
    const pressed = all(root, ".tl-each-group")[2]!.querySelector("[aria-pressed=true]");
    expect(pressed!.textContent).toContain("neuron 1.5");
    store.select({ unit: "neuron:30" });
    await settled();
    expect(all(root, ".tl-each-group")[2]!.textContent).toContain("neuron 1.30");
  });

  it("goes either way, and to the position of the selected token", async () => {
    const from = source(manifest());
    const { root, store, settled } = await show("carried", manifest(), from, {
      token: 7,
      ...each,
    });
    expect(from.asked).toEqual(["exchanged/tuned/7/1"]);
    expect(caption(root)).toContain("only at “\u2068DOG\u2069”, where it is predicted");
    pick(root, "From which model into which", "base");
    await settled();
    expect(from.asked).toContain("exchanged/base/7/1");
    expect(caption(root)).toContain("What base gains");
    pick(root, "Where parts are exchanged", "everywhere");
    await settled();
    expect(from.asked).toContain("exchanged/base/everywhere/1");
    store.select({ token: 4 });
    await settled();
    pick(root, "Where parts are exchanged", "here");
    await settled();
    expect(from.asked).toContain("exchanged/base/4/answer");
  });

  it("of a page without models says which rows it does not hold", async () => {
    const from = { ...source(manifest()), has: (key: string) => !/answer\/1(\/30)?$/.test(key) };
    const state = { layer: 1, unit: "neuron:5", view: each.view };
    const { root, store, settled } = await show("carried", manifest(), from, state);
    expect(caption(root)).toContain("Heads of layer 1 were not recorded here.");
    store.select({ unit: "neuron:30" });
    await settled();
    expect(caption(root)).toContain(
      "not recorded here. Other neurons are exchanged over the models",
    );
    store.select({ layer: 0, unit: "" });
    await settled();
    expect(all(root, ".tl-each-group")[1]!.textContent).toContain("head 0.3");
    expect(caption(root)).not.toContain("recorded");
  });

  it("of a large live model measures at one token when asked for it", async () => {
    const made = manifest();
    made.pair.hidden = 4096;
    const from = source(made);
    const state = { token: 4, ...each };
    const { root, settled } = await show("carried", made, from, state);
    expect(from.asked).toEqual(["exchanged/tuned/everywhere/answer"]);
    const ask = all(root, ".tl-controls button").find((one) => !one.hidden)!;
    ask.click();
    await settled();
    expect(from.asked).toContain("exchanged/tuned/4/answer");
  });

  it("says why there is nothing to show", async () => {
    const made = manifest({ shared: false });
    const own = await show("carried", made, source(made), each);
    expect(caption(own.root)).toContain("only where both read one answer");
    expect(all(own.root, ".tl-each-row")).toHaveLength(0);
    const from = { ...source(manifest()), get: () => Promise.reject(new Error("not here")) };
    const none = await show("carried", manifest(), from, { view: each.view });
    expect(caption(none.root)).toContain("not computed when this was saved");
  });
});
