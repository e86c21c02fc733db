import { expect, it } from "vitest";
import type { Lens } from "../../../src/contract/contract.ts";
import type { Tensor } from "../../../src/contract/decode.ts";
import { manifest, source } from "../../fixture.ts";
import { all, show } from "../../mounted.ts";

/** The panel over numbers of its own: every position shifted alike, the more the deeper. */
function shown() {
  const made = manifest();
  const { layers } = made.pair;
  const rows = made.prompt_tokens.length + 1;
  const shift = (width: number): Tensor => ({
    shape: [rows, width],
    data: Float32Array.from({ length: rows * width }, (_, i) => (i % width) / width),
  });
  const steps = Array.from({ length: layers + 1 }, (_, i) => ({ logprob: i - layers }));
  const blocks: Record<string, Tensor | Partial<Lens>> = {
    "shift/attention": shift(layers),
    "shift/feed_forward": shift(layers),
    "shift/residual": shift(layers + 1),
  };
  const from = source(made);
  const get = from.get.bind(from);
  from.get = (key, signal) => {
    const lens = key.startsWith("lens/") ? { layers: steps } : blocks[key];
    return lens ? Promise.resolve(lens as never) : get(key, signal);
  };
  return show("overview", made, from);
}

const points = (root: HTMLElement, line: string) =>
  root.querySelector(`.tl-layer-chart svg svg .tl-layer-line[data-line=${line}]`)!;
const charts = (root: HTMLElement) => all(root, ".tl-layer-chart").map((el) => !el.hidden);

it("draws a line through every layer, and the lens of the selected token below", async () => {
  const { root, store, made, settled } = await shown();
  expect(charts(root)).toEqual([true, false]);
  const { layers } = made.pair;
  for (const name of ["attention", "feed_forward", "residual"]) {
    const path = points(root, name).getAttribute("d")!;
    expect(path.match(/[ML]/g)).toHaveLength(layers);
    expect(path).not.toContain("NaN");
  }
  store.select({ token: made.prompt_tokens.length });
  await settled();
  expect(charts(root)).toEqual([true, true]);
  // The embedding comes first.
  expect(points(root, "tuned").getAttribute("d")!.match(/[ML]/g)).toHaveLength(layers + 1);
});

it("selects the layer of a click, and marks it", async () => {
  const { root, store, made, settled } = await shown();
  const picture = root.querySelector(".tl-layer-chart > svg")!;
  const chosen = picture.querySelector(".tl-layer-chosen")!;
  expect(chosen.hasAttribute("d")).toBe(false);
  const click = (clientX: number) =>
    picture.dispatchEvent(new MouseEvent("click", { clientX, bubbles: true }));
  click(499);
  await settled();
  expect(store.selection.layer).toBe(made.pair.layers - 1);
  expect(chosen.getAttribute("d")).toMatch(/^M\d/);
  click(60);
  await settled();
  expect(store.selection.layer).toBe(0);
  click(20); // beside the axis
  expect(store.selection.layer).toBe(0);
});
