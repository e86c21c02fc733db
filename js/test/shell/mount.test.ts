import { readFileSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import { keys } from "../../src/contract/contract.ts";
import { PALETTES } from "../../src/contract/palette.ts";
import { required } from "../../src/core/load.ts";
import { selectionText } from "../../src/core/selection.ts";
import { Store } from "../../src/core/store.ts";
import { tooltip } from "../../src/draw/tooltip.ts";
import { type Panel, runPanel } from "../../src/shell/frame.ts";
import { mount } from "../../src/shell/mount.ts";
import type { Progress, Source } from "../../src/sources/source.ts";
import { FakeModel, HOSTILE, manifest, source } from "../fixture.ts";
import { all, ending, press, show } from "../mounted.ts";

describe("every panel", () => {
  it.each(["findings", "saliency", "carried", "update", "heads", "concepts", "dashboard"] as const)(
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

  it("has the blocks of the heads beside before they are chosen, where they come quickly", async () => {
    const made = manifest();
    const from = source(made);
    const state = { layer: 1, head: 1 };
    const { store, settled } = await show("heads", made, from, state);
    await vi.waitFor(() => expect(from.asked).toContain("attention/tuned/1/2"), 3000);
    await vi.waitFor(() => expect(from.asked).toContain("attention/tuned/1/0"), 3000);
    const asked = from.asked.length;
    store.select({ head: 2 });
    await settled();
    expect(from.asked.slice(asked).filter((key) => key.endsWith("/1/2"))).toEqual([]);
  });

  it("has the blocks of what the pointer rests on before it is clicked", async () => {
    const made = manifest();
    const from = source(made);
    const { store, settled } = await show("heads", made, from, { layer: 1, head: 1 });
    store.pointAt({ layer: 0, head: 2 });
    await vi.waitFor(() => expect(from.asked).toContain("attention/tuned/0/2"));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const { length } = from.asked;
    store.select({ layer: 0, head: 2 });
    await settled();
    expect(from.asked.slice(length).filter((key) => key.endsWith("/0/2"))).toEqual([]);
  });

  it("asks for nothing ahead that took long", async () => {
    const made = manifest();
    const from = source(made, 400);
    await show("heads", made, from, { layer: 1, head: 1 });
    const asked = from.asked.length;
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(from.asked).toHaveLength(asked);
  });

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

  it("closes what is open above it with Escape, wherever the focus is", async () => {
    const { root, store } = await show("carried", manifest(), undefined, { token: 3 });
    const sheet = root.querySelector<HTMLElement>(".tl-sheet")!;
    for (const at of [sheet, document.body]) {
      root.querySelector<HTMLElement>(".tl-how")!.click();
      expect(sheet.hidden).toBe(false);
      expect(sheet.contains(document.activeElement)).toBe(true);
      press(at, "Escape");
      expect(sheet.hidden).toBe(true);
    }
    expect(store.selection.token).toBe(3);
  });

  it("leaves the message that stands, where the next run ends in the same", async () => {
    const made = manifest();
    const good = source(made);
    const from: Source = {
      has: () => false,
      get: (key, signal) =>
        key.startsWith("activations/")
          ? Promise.reject(new Error("no activations here"))
          : good.get(key, signal),
    };
    const { root, store, settled } = await show("concepts", made, from, { layer: 1, token: 2 });
    const said = () => [...root.querySelector("[role=alert]")!.childNodes];
    const before = said();
    expect(before[0]!.textContent).toBe("no activations here");
    store.select({ token: 3 });
    await settled();
    expect(said().every((node, i) => node === before[i])).toBe(true);
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

  it("runs again for what it reads, and says which selection it shows", async () => {
    const shown = vi.fn();
    const made = manifest();
    const model = new FakeModel(made, { token: 7 });
    const controller = new AbortController();
    ending.push(controller);
    const store = new Store(model, source(made), controller.signal);
    const root = document.createElement("div");
    document.body.append(root);
    const setting = {
      store,
      signal: controller.signal,
      surface: { root, store, palette: PALETTES.light, scale: 1 },
      tooltip: tooltip(root, controller.signal),
    };
    const panel: Panel = {
      label: "tokens",
      controls: [],
      body: document.createElement("div"),
      reads: ({ selection }) => selection.token,
      needs: ({ selection, live }) =>
        required(
          live ? keys.disagreement() : keys.logprob("base"),
          keys.saliencyColumn("base", "gradient", selection.token - 6),
        ),
      picture: ({ selection }) => {
        shown(selection.token);
        return { title: "", caption: "", draw() {} };
      },
    };
    await runPanel("overview", () => panel, { el: root }, setting);
    const section = root.querySelector<HTMLElement>("[data-panel]")!;
    const at = (text: string) => vi.waitFor(() => expect(section.dataset.selection).toBe(text));
    store.select({ layer: 1, head: 2 });
    await at("7/1/2/");
    expect(shown.mock.calls).toEqual([[7]]);
    store.select({ token: 6 });
    await at("6/1/2/");
    expect(shown.mock.calls).toEqual([[7], [6]]);
    model.set("_recorded", false); // other blocks are needed
    store.touch();
    await vi.waitFor(() => expect(shown.mock.calls).toEqual([[7], [6], [6]]));
  });

  it("follows JupyterLab's theme, and the one that is set", async () => {
    document.body.dataset.jpThemeLight = "false";
    const sheet = document.createElement("style");
    sheet.textContent = readFileSync("src/styles/palette.css", "utf8");
    document.head.append(sheet);
    // Of both colours the browser takes that of the scheme.
    const { light, dark } = PALETTES;
    const both = `light-dark(${light.base}, ${dark.base})`;
    const colours = (el: HTMLElement) => {
      const style = getComputedStyle(el);
      return [style.getPropertyValue("--tl-base"), style.getPropertyValue("color-scheme")];
    };
    try {
      const { root, model } = await show("saliency", manifest(), undefined, { theme: "auto" });
      const outer = root.querySelector<HTMLElement>(".twinlens")!;
      expect(outer.dataset.theme).toBe("dark");
      document.body.dataset.jpThemeLight = "true";
      await vi.waitFor(() => expect(outer.dataset.theme).toBe("light"));
      expect(colours(outer)).toEqual([both, "light"]);
      model.set("theme", "dark");
      await vi.waitFor(() => expect(outer.dataset.theme).toBe("dark"));
      expect(colours(outer)).toEqual([both, "dark"]);
    } finally {
      sheet.remove();
      delete document.body.dataset.jpThemeLight;
    }
  });

  it("asks for the answer that is not read once the panels are there", async () => {
    const made = manifest();
    const unread = { ...made.answers.base, own_text: null, stopped: null };
    const chat = { template: true, chat_template: "{{ messages }}" };
    const from = source(made);
    const { root } = await show(
      "dashboard",
      { ...made, answers: { ...made.answers, base: unread }, parameters: chat },
      from,
    );
    const answers = () => all(root, ".tl-line").map((el) => el.textContent);
    await vi.waitFor(() =>
      expect(answers()).toEqual([
        "base base-modelanswers what base says … (cut off)",
        "tuned tuned-modelanswers THE DOG",
      ]),
    );
    expect(from.asked.filter((key) => key.startsWith("answer/own"))).toEqual(["answer/own/base"]);
    const mode = root.querySelector<HTMLElement>(".tl-mode")!;
    expect(mode.textContent).toContain("in the chat template of tuned");
    expect(mode.title).toBe("{{ messages }}");
  });

  it("is removed with its signal", async () => {
    const { root } = await show("dashboard");
    expect(all(root, "[data-panel]")).toHaveLength(7);
    for (const controller of ending.splice(0)) controller.abort();
    expect(root.childElementCount).toBe(0);
  });
});
