import { describe, expect, it, vi } from "vitest";
import type { Tensor } from "../../../src/contract/decode.ts";
import { mount } from "../../../src/shell/mount.ts";
import { manifest, source, value } from "../../fixture.ts";
import { all, ending, numbers, press, show } from "../../mounted.ts";

describe("saliency", () => {
  it("shows one button per position, and the effects on the clicked token", async () => {
    const { root, store, made, settled } = await show("saliency");
    const tokens = all(root, "[data-token]");
    expect(tokens.map((token) => Number(token.dataset.token))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    tokens[7]!.click();
    await settled();
    expect(store.selection.token).toBe(7);
    for (const side of ["base", "tuned"] as const) {
      const column = value(made, `saliency/${side}/gradient/1`) as Tensor;
      const row = tokens.slice(0, 6).map((t) => t.querySelector(`.tl-bar[data-side=${side}]`)!);
      expect(row.map((bar) => Number((bar as HTMLElement).dataset.value))).toEqual([
        ...column.data,
      ]);
    }
    expect(root.querySelector("h2")!.textContent).toContain("DOG");
    tokens[7]!.click();
    await settled();
    expect(store.selection.token).toBe(-1);
  });

  it("asks for one column of a live trace, not for the matrix", async () => {
    const made = manifest();
    const from = source(made);
    await show("saliency", made, from, { token: 6 });
    expect(from.asked).toContain("saliency/base/gradient/0");
    expect(from.asked).not.toContain("saliency/base/gradient");
  });

  it("shows where a prompt token matters on the answer", async () => {
    const { root, made } = await show("saliency", manifest(), undefined, { token: 4 });
    const matrix = value(made, "saliency/tuned/gradient") as Tensor;
    const bars = numbers(root, ".tl-answer .tl-down > .tl-bar[data-side=tuned]");
    expect(bars).toEqual([...matrix.data.slice(8, 10)]);
  });

  it("adds the head's attention from the reading position as a track", async () => {
    const state = { token: 7, layer: 1, head: 2 };
    const { root, made } = await show("saliency", manifest(), undefined, state);
    const pattern = value(made, "attention/tuned/1/2") as Tensor;
    const shown = all(root, ".tl-row:not(.tl-answer) .tl-lane .tl-bar[data-side=tuned]");
    expect(shown[0]!.dataset.value).toBeUndefined(); // the first token is set aside
    expect(shown.slice(1).map((bar) => Number(bar.dataset.value))).toEqual([
      ...pattern.data.slice(6 * 8 + 1, 6 * 8 + 6),
    ]);
  });

  it("has two answer rows where each model answers for itself", async () => {
    const { root } = await show("saliency", manifest({ shared: false }), undefined, { token: 8 });
    expect(all(root, ".tl-answer[data-side=base] [data-token]")).toHaveLength(3);
    expect(all(root, ".tl-answer[data-side=tuned] [data-token]")).toHaveLength(2);
    expect(root.querySelector("h2")!.textContent).toContain("none (tuned)");
  });

  it("moves along tokens with the arrow keys", async () => {
    const { root, store, settled } = await show("saliency", manifest(), undefined, { token: 4 });
    const tokens = all(root, "[data-token]");
    const reached = () => tokens.filter((token) => token.tabIndex === 0);
    // One of the prompt and one of the answer, which may scroll apart.
    await vi.waitFor(() => expect(reached()).toEqual([tokens[4], tokens[6]]));
    tokens[4]!.focus();
    press(tokens[4]!, "ArrowRight");
    await settled();
    expect(store.selection.token).toBe(5);
    expect(document.activeElement).toBe(tokens[5]);
    press(tokens[5]!, "ArrowLeft");
    press(document.activeElement!, "ArrowLeft");
    expect(store.selection.token).toBe(3);
    press(document.activeElement!, "End");
    expect(store.selection.token).toBe(7);
  });

  it("names every token with its numbers", async () => {
    const { root } = await show("saliency", manifest(), undefined, { token: 7 });
    await vi.waitFor(() => {
      for (const token of all(root, "[data-token]")) {
        expect(token.getAttribute("aria-label")).toMatch(/(prompt|answer) token \d+, .*(base|KL)/);
      }
    });
  });

  it("shows the same in two cells of one explorer, and again in a page", async () => {
    const { root, store, model, made, settled } = await show("saliency");
    const cell = document.createElement("div");
    document.body.append(cell);
    await mount(store, "saliency", cell, ending.at(-1)!.signal);
    const inputs = (of: HTMLElement) =>
      [...of.querySelectorAll<HTMLInputElement>(".tl-sheet input")].map((input) =>
        input.type === "checkbox" ? input.checked : input.value,
      );
    const unfolded = (of: HTMLElement) =>
      of.querySelector(".tl-badge")!.getAttribute("aria-expanded") === "true" &&
      all(of, ".tl-curve-figure").length === 2;
    expect(unfolded(cell)).toBe(false);
    root.querySelector<HTMLElement>(".tl-badge")!.click();
    const [levels, , , , relative] = root.querySelectorAll<HTMLInputElement>(".tl-sheet input");
    levels!.value = "300"; // more than there may be
    levels!.dispatchEvent(new Event("change"));
    relative!.click();
    await settled();
    const wanted = ["100", "7", "0", "4", false, true, true, false];
    for (const place of [root, cell]) {
      await vi.waitFor(() => expect(unfolded(place)).toBe(true));
      expect(inputs(place)).toEqual(wanted);
    }
    const page = await show("saliency", made, undefined, { view: model.get("view") });
    await vi.waitFor(() => expect(unfolded(page.root)).toBe(true));
    expect(inputs(page.root)).toEqual(wanted);
  });

  it("stays as it is while another layer is looked at without a head or unit", async () => {
    const { root, store, settled } = await show("saliency");
    const notes = root.querySelector(".tl-notes")!.firstChild;
    store.select({ layer: 1 });
    await settled();
    expect(root.querySelector(".tl-notes")!.firstChild).toBe(notes);
    store.select({ head: 2 });
    await settled();
    expect(all(root, ".tl-lane").length).toBeGreaterThan(0);
  });
});
