import { describe, expect, it, vi } from "vitest";
import { manifest } from "../fixture.ts";
import { all, press, show } from "../mounted.ts";

const root = (within: HTMLElement) => within.querySelector<HTMLElement>(".twinlens")!;
const tab = (within: HTMLElement) =>
  all(within, ".tl-desk > .tl-slot:not([hidden]) > [data-panel]").map((el) => el.dataset.panel);

describe("presenting", () => {
  it("puts one panel on a slide, steps, and comes back to what was seen", async () => {
    const { root: page, store, model, settled } = await show("dashboard");
    store.select({ token: 7 });
    press(root(page), "p");
    expect(model.get("presentation")).toBe(true);
    await vi.waitFor(() => expect(tab(page)).toEqual(["saliency"]));
    press(root(page), "PageDown");
    expect(tab(page)).toEqual(["carried"]);
    expect(page.querySelector(".tl-slide-mark")!.textContent).toBe("2 / 6");
    press(root(page), "ArrowLeft");
    expect(tab(page)).toEqual(["saliency"]);
    press(root(page), "Escape");
    await settled();
    expect(model.get("presentation")).toBe(false);
    expect(tab(page)).toHaveLength(6);
    expect(store.selection.token).toBe(7);
  });

  it("tells the story that was kept, with notes for the speaker", async () => {
    const { root: page, store, settled } = await show("dashboard");
    store.select({ token: 6, layer: 1, head: 2 });
    await settled();
    const [caption, notes] = page.querySelectorAll<HTMLInputElement>(".tl-keep-text");
    caption!.value = "This head";
    notes!.value = "slowly";
    page.querySelector<HTMLElement>(".tl-keep .tl-button")!.click();
    expect(store.slides.map((slide) => [slide.caption, slide.notes, slide.state.token])).toEqual([
      ["This head", "slowly", 6],
    ]);
    store.select({ token: -1 });
    press(root(page), "P");
    await vi.waitFor(() => expect(store.selection.head).toBe(2));
    expect(page.querySelector(".tl-slide-caption")!.textContent).toBe("This head");
    const said = page.querySelector<HTMLElement>(".tl-slide-notes")!;
    expect(said.hidden).toBe(true);
    press(root(page), "n");
    expect(said.hidden).toBe(false);
    expect(said.textContent).toBe("0:00slowly");
    press(root(page), "Escape");
    expect(store.selection.token).toBe(-1);
  });
});

describe("keys", () => {
  it("search tokens and words, and go there", async () => {
    const { root: page, store, made } = await show("dashboard");
    press(root(page), "/");
    const card = page.querySelector<HTMLElement>(".tl-search-card")!;
    expect(card.hidden).toBe(false);
    const input = card.querySelector("input")!;
    input.value = made.answers.tuned.tokens[1]!.text.trim().toLowerCase();
    input.dispatchEvent(new Event("input"));
    const hits = all(card, ".tl-hit").map((hit) => hit.textContent);
    expect(hits.at(-1)).toContain("word pairs");
    press(input, "ArrowDown");
    press(input, "ArrowUp");
    press(input, "Enter");
    expect(card.hidden).toBe(true);
    expect(store.text(store.selection.token).toLowerCase()).toContain(input.value);
    press(root(page), "z");
    expect(store.selection.token).toBe(-1);
    press(root(page), "Z");
    expect(store.selection.token).toBeGreaterThanOrEqual(0);
  });

  it("close what is open first: help, then step back", async () => {
    const { root: page, store } = await show("dashboard", manifest(), undefined, { token: 7 });
    press(root(page), "?");
    const help = page.querySelector<HTMLElement>(".tl-help")!;
    expect(help.hidden).toBe(false);
    expect(help.textContent).toContain("Kullback–Leibler");
    press(help, "Escape");
    expect([help.hidden, store.selection.token]).toEqual([true, 7]);
    press(root(page), "?");
    document.body.dispatchEvent(new Event("pointerdown", { bubbles: true }));
    expect(help.hidden).toBe(true);
  });
});
