import { afterEach, describe, expect, it, vi } from "vitest";
import type { Manifest, PanelKind } from "../../src/contract/contract.ts";
import type { Tensor } from "../../src/contract/decode.ts";
import { selectionText } from "../../src/core/selection.ts";
import { Store } from "../../src/core/store.ts";
import { PALETTES } from "../../src/draw/theme.ts";
import { mount } from "../../src/shell/mount.ts";
import type { Progress, Source } from "../../src/sources/source.ts";
import { COMPONENTS, FakeModel, HOSTILE, manifest, source, value } from "../fixture.ts";

const ending: AbortController[] = [];
afterEach(() => {
  for (const controller of ending.splice(0)) controller.abort();
  document.body.replaceChildren();
});

interface Mounted {
  store: Store;
  model: FakeModel;
  made: Manifest;
  root: HTMLElement;
  settled(): Promise<void>;
}

async function show(
  kind: PanelKind,
  made = manifest(),
  from: Source = source(made),
  state: Record<string, unknown> = {},
): Promise<Mounted> {
  const controller = new AbortController();
  ending.push(controller);
  const model = new FakeModel(made, state);
  const store = new Store(model, from, controller.signal);
  const root = document.createElement("div");
  document.body.append(root);
  mount(store, kind, root, controller.signal).catch(() => {});
  const settled = () =>
    vi.waitFor(() => {
      const sections = [...root.querySelectorAll<HTMLElement>("[data-panel]")];
      expect(sections.length).toBeGreaterThan(0);
      for (const section of sections) {
        expect(section.dataset.state).not.toBe("loading");
        expect(section.dataset.selection).toBe(selectionText(store.selection));
      }
    }, 20_000);
  await settled();
  return { store, model, made, root, settled };
}

const all = (root: HTMLElement, selector: string) => [
  ...root.querySelectorAll<HTMLElement>(selector),
];
const numbers = (root: HTMLElement, selector: string) =>
  all(root, selector).map((element) => Number(element.dataset.value));
const press = (element: Element, key: string) =>
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));

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
    expect(tokens.filter((token) => token.tabIndex === 0)).toEqual([tokens[4]]);
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
    for (const token of all(root, "[data-token]")) {
      expect(token.getAttribute("aria-label")).toMatch(/(prompt|answer) token \d+, .*(base|KL)/);
    }
  });
});

describe("heads", () => {
  const grid = (root: HTMLElement) => root.querySelector<HTMLElement>(".tl-grids")!;
  const painted = (root: HTMLElement) =>
    (
      root.querySelector(".tl-grids canvas") as unknown as {
        twinlens: { values: Record<string, ArrayLike<number>> };
      }
    ).twinlens.values;

  it("shows attention to the instruction at the reading position, and the difference", async () => {
    const { root, made } = await show("heads", manifest(), undefined, { token: 7 });
    const wanted = (side: string) =>
      [...(value(made, `heads/instruction/${side}`) as Tensor).data].slice(6 * 12, 7 * 12);
    const values = painted(root);
    expect(Array.from(values.base!)).toEqual(wanted("base"));
    expect(Array.from(values.tuned!)).toEqual(wanted("tuned"));
    expect(values.third![5]).toBeCloseTo(wanted("tuned")[5]! - wanted("base")[5]!, 6);
  });

  it("selects with the arrow keys and stays inside the grid", async () => {
    const { root, store, settled } = await show("heads");
    expect(grid(root).dataset.layers).toBe("3");
    press(grid(root), "ArrowDown");
    expect(store.selection).toMatchObject({ layer: 0, head: 0 });
    for (const key of ["ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"]) press(grid(root), key);
    expect(store.selection).toMatchObject({ layer: 1, head: 1 });
    for (let i = 0; i < 9; i++) press(grid(root), "ArrowDown");
    expect(store.selection).toMatchObject({ layer: 2, head: 1 });
    await settled();
    expect(grid(root).getAttribute("aria-label")).toContain("layer 2, head 1: base");
    expect(root.querySelector("h3")!.textContent).toBe("Layer 2, head 1");
  });

  it("shows the next best where what heads write is not recorded", async () => {
    const made = manifest();
    const good = source(made);
    const from: Source = {
      has: () => false,
      get: (key, signal) =>
        key.startsWith("heads/write")
          ? Promise.reject(new Error(`${key} is not recorded`))
          : good.get(key, signal),
    };
    const state = { token: 7, layer: 1, unit: "component:2" };
    const { root } = await show("heads", made, from, state);
    const { data } = value(made, "heads/instruction/base") as Tensor;
    expect(Array.from(painted(root).base!)).toEqual([...data.slice(6 * 12, 7 * 12)]);
    expect(root.querySelector("p")!.textContent).toContain("write into concept 2 is not recorded");
    expect(root.querySelector<HTMLElement>("[data-panel]")!.dataset.state).toBe("ready");
  });

  it("moves along tokens with the arrow keys in the maps", async () => {
    const { root, store } = await show("heads", manifest(), undefined, { token: 6 });
    const maps = root.querySelector(".tl-maps")!;
    press(maps, "ArrowDown");
    press(maps, "ArrowDown");
    expect(store.selection.token).toBe(7);
    for (let i = 0; i < 9; i++) press(maps, "ArrowUp");
    expect(store.selection.token).toBe(0);
  });

  it("shows the head that changed most when none is selected", async () => {
    const { root, made } = await show("heads");
    const { data } = value(made, "heads/change") as Tensor;
    const mean = Array.from({ length: 12 }, (_, i) => {
      let sum = 0;
      for (let c = 0; c < 8; c++) sum += data[c * 12 + i]!;
      return sum / 8;
    });
    const best = mean.indexOf(Math.max(...mean));
    const name = `Layer ${Math.floor(best / 4)}, head ${best % 4}`;
    expect(root.querySelector("h3")!.textContent).toBe(name);
    Array.from(painted(root).third!).forEach((v, i) => {
      expect(v).toBeCloseTo(mean[i]!, 6);
    });
  });
});

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

describe("every panel", () => {
  it.each(["saliency", "heads", "concepts", "dashboard"] as const)(
    "%s shows hostile text as text",
    async (kind) => {
      const { root } = await show(kind, manifest({ hostile: true }), undefined, { token: 6 });
      expect(root.querySelector("img, script")).toBeNull();
      if (kind === "saliency" || kind === "dashboard") {
        for (const [i, text] of HOSTILE.entries()) {
          const shown = root.querySelector(`[data-token="${6 + i}"] .tl-word`)!.textContent;
          expect(shown).toBe(text.replace("\u202e", "‹U+202E›"));
        }
      }
      if (kind === "concepts") {
        expect(all(root, "[data-word]").map((word) => word.textContent)).toContain(HOSTILE[0]);
      }
    },
  );

  it("steps back with Escape and presents with P", async () => {
    const state = { token: 7, layer: 1, head: 2, unit: "component:1" };
    const { root, store, model } = await show("heads", manifest(), undefined, state);
    const target = root.querySelector(".tl-grids")!;
    for (const wanted of ["7/1/2/", "7/1/-1/", "7/-1/-1/", "-1/-1/-1/"]) {
      press(target, "Escape");
      expect(selectionText(store.selection)).toBe(wanted);
    }
    press(target, "p");
    expect(model.get("presentation")).toBe(true);
  });

  it("shows the reason where a block cannot be had, and tries again", async () => {
    const made = manifest();
    const good = source(made);
    let broken = true;
    const from: Source = {
      has: () => false,
      get: (key, signal) =>
        broken ? Promise.reject(new Error(`no answer for ${key}`)) : good.get(key, signal),
    };
    const { root, settled } = await show("concepts", made, from);
    const section = root.querySelector<HTMLElement>("[data-panel]")!;
    expect(section.dataset.state).toBe("error");
    expect(root.querySelector("[role=alert]")!.textContent).toContain("no answer for components/");
    broken = false;
    root.querySelector<HTMLElement>("[role=alert] button")!.click();
    await settled();
    await vi.waitFor(() => expect(section.dataset.state).toBe("ready"));
  });

  it("shows progress, and cancels on Stop", async () => {
    const made = manifest();
    const good = source(made);
    const stopped: string[] = [];
    const from: Source = {
      has: () => false,
      get(key, signal, progress?: (report: Progress) => void) {
        if (!key.startsWith("saliency")) return good.get(key, signal);
        signal.addEventListener("abort", () => stopped.push(key));
        setTimeout(() => progress?.({ done: 12, total: 32, label: "saliency tuned" }), 5);
        return new Promise(() => {});
      },
    };
    const model = new FakeModel(made);
    const controller = new AbortController();
    ending.push(controller);
    const store = new Store(model, from, controller.signal);
    const root = document.createElement("div");
    document.body.append(root);
    mount(store, "saliency", root, controller.signal).catch(() => {});
    await vi.waitFor(() => expect(root.textContent).toContain("saliency tuned: 12 of 32"));
    [...root.querySelectorAll("button")].find((one) => one.textContent === "Stop")!.click();
    expect(root.querySelector<HTMLElement>("[data-panel]")!.dataset.state).toBe("error");
    await vi.waitFor(() => {
      expect(stopped.sort()).toEqual(["saliency/base/gradient", "saliency/tuned/gradient"]);
    });
  });

  it("paints only the newest selection", async () => {
    const made = manifest();
    const good = source(made);
    const from: Source = {
      has: () => false,
      async get(key, signal) {
        if (key.endsWith("/gradient/0")) await new Promise((resolve) => setTimeout(resolve, 60));
        return good.get(key, signal);
      },
    };
    const { root, store, settled } = await show("saliency", made, from);
    store.select({ token: 6 });
    await new Promise((resolve) => setTimeout(resolve, 25));
    store.select({ token: 7 });
    await settled();
    await new Promise((resolve) => setTimeout(resolve, 90));
    expect(root.querySelector("h2")!.textContent).toContain("DOG");
    expect(root.querySelector<HTMLElement>("[data-panel]")!.dataset.selection).toBe("7/-1/-1/");
  });

  it("follows JupyterLab's theme, and the one that is set", async () => {
    document.body.dataset.jpThemeLight = "false";
    try {
      const { root, model } = await show("saliency", manifest(), undefined, { theme: "auto" });
      const outer = root.querySelector<HTMLElement>(".twinlens")!;
      expect(outer.dataset.theme).toBe("dark");
      document.body.dataset.jpThemeLight = "true";
      await vi.waitFor(() => expect(outer.dataset.theme).toBe("light"));
      model.set("theme", "dark");
      await vi.waitFor(() => expect(outer.dataset.theme).toBe("dark"));
      expect(outer.style.getPropertyValue("--tl-base")).toBe(PALETTES.dark.base);
    } finally {
      delete document.body.dataset.jpThemeLight;
    }
  });

  it("is removed with its signal", async () => {
    const { root } = await show("dashboard");
    expect(all(root, "[data-panel]")).toHaveLength(4);
    for (const controller of ending.splice(0)) controller.abort();
    expect(root.childElementCount).toBe(0);
  });
});
