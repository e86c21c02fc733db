import { afterEach, describe, expect, it, vi } from "vitest";
import type { Tensor } from "../../../src/contract/decode.ts";
import { changedOptions } from "../../../src/core/options.ts";
import { selectionText } from "../../../src/core/selection.ts";
import { Store } from "../../../src/core/store.ts";
import { sorted } from "../../../src/panels/heads/list.ts";
import { measures, target } from "../../../src/panels/heads/measures.ts";
import { filtered, pairsOf } from "../../../src/panels/heads/pairs_data.ts";
import { mount } from "../../../src/shell/mount.ts";
import type { Source } from "../../../src/sources/source.ts";
import { FakeModel, manifest, source, value } from "../../fixture.ts";

const ending: AbortController[] = [];
afterEach(() => {
  for (const controller of ending.splice(0)) controller.abort();
  document.body.replaceChildren();
});

async function show(state: Record<string, unknown> = {}, from?: Source) {
  const made = manifest();
  const controller = new AbortController();
  ending.push(controller);
  const asked = from ?? source(made);
  const store = new Store(new FakeModel(made, state), asked, controller.signal);
  const root = document.createElement("div");
  document.body.append(root);
  mount(store, "heads", root, controller.signal).catch(() => {});
  const section = () => root.querySelector<HTMLElement>("[data-panel]")!;
  const settled = () =>
    vi.waitFor(() => {
      expect(section().dataset.state).toBe("ready");
      expect(section().dataset.selection).toBe(selectionText(store.selection));
    });
  await settled();
  /** Do something that runs the panel again, and wait for it. */
  const change = async (act: () => void) => {
    section().dataset.state = "waiting";
    act();
    await settled();
  };
  const tab = (name: string) =>
    change(() => root.querySelector<HTMLElement>(`[data-tab=${name}]`)!.click());
  const pickButton = (text: string) =>
    [...root.querySelectorAll("button")].find((one) => one.textContent === text)!;
  return { root, store, made, asked, settled, change, tab, pickButton };
}

const all = (root: ParentNode, selector: string) => [
  ...root.querySelectorAll<HTMLElement>(selector),
];
const press = (element: Element, key: string) =>
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));

describe("numbers of heads", () => {
  it("sort by size, those without a number last", () => {
    expect(sorted([0.1, Number.NaN, -3, 2])).toEqual([2, 3, 0, 1]);
  });

  it("offer what fits the selection, and the answer token an effect is on", async () => {
    const { store } = await show({ token: 7 });
    expect(measures(store)[0]).toBe("instruction");
    expect(target(store)).toBe(1);
    store.setOptions("heads", { average: true });
    expect(measures(store).slice(0, 2)).toEqual(["instruction", "change"]);
    expect(target(store)).toBe("answer");
  });
});

describe("word pairs", () => {
  const pairs = pairsOf({
    rows: [
      ["translate", "write", 0, 5],
      ["dog", "cat", 3, 2],
      ["red", "Translated", 2, 0],
    ],
    left_out: 0,
  });
  it("are gained, kept or lost, and found by a part of either word", () => {
    expect(pairs.map((pair) => pair.fate)).toEqual(["gained", "kept", "lost"]);
    expect(filtered(pairs, ["gained", "lost"], "TRANS")).toEqual([pairs[0], pairs[2]]);
    expect(filtered(pairs, ["kept"], "trans")).toEqual([]);
    expect(filtered(pairs, ["kept", "lost"], "")).toEqual([pairs[1], pairs[2]]);
  });
});

describe("the heads panel", () => {
  it("lists all heads sorted by the measure, walkable, sortable by a model", async () => {
    const { root, store, made, change, settled } = await show({ token: 7 });
    await change(() => root.querySelector<HTMLElement>(".tl-controls .tl-button")!.click());
    const of = (side: string) =>
      (value(made, `heads/instruction/${side}`) as Tensor).data.slice(6 * 12, 7 * 12);
    const [base, tuned] = [of("base"), of("tuned")];
    const gap = Array.from(base, (x, i) => Math.abs(tuned[i]! - x));
    const shown = () => all(root, ".tl-head-list [data-row]").map((row) => row.dataset.row);
    const names = (sizes: ArrayLike<number>) =>
      sorted(sizes).map((i) => `${Math.floor(i / 4)}/${i % 4}`);
    expect(shown()).toEqual(names(gap));
    const first = root.querySelector(".tl-head-list [data-row]")!;
    const cells = all(first, "[data-value]").map((cell) => Number(cell.dataset.value));
    const [top] = sorted(gap);
    expect(cells.slice(0, 2)).toEqual([base[top!], tuned[top!]]);
    press(root.querySelector(".tl-head-list .tl-rows")!, "ArrowDown");
    await settled();
    expect(`${store.selection.layer}/${store.selection.head}`).toBe(names(gap)[0]);
    await change(() => root.querySelector<HTMLElement>("[data-sort=base]")!.click());
    expect(shown()).toEqual(names(base));
  });

  it("says why a measure cannot be shown, and shows the natural one", async () => {
    const made = manifest();
    const good = source(made);
    const from: Source = {
      has: () => false,
      get: (key, signal) =>
        key.startsWith("heads/entropy")
          ? Promise.reject(new Error(`${key} is not recorded.`))
          : good.get(key, signal),
    };
    const { root, store, change } = await show({}, from);
    await change(() => store.setOptions("heads", { measure: "entropy" }));
    expect(root.querySelector("p")!.textContent).toContain("heads/entropy/base is not recorded");
    expect(root.querySelector("h2")!.textContent).toBe("Which heads look at the instruction");
    // The menu says what is shown, not what was asked for.
    expect(root.querySelector<HTMLSelectElement>("select:not([hidden])")!.value).toBe(
      "instruction",
    );
  });

  it("asks for effects only where they are looked at", async () => {
    const made = manifest();
    const asked = source(made);
    const { tab } = await show({ token: 7 }, asked);
    expect(asked.asked.filter((key) => /effect|ablation|word_pairs/.test(key))).toEqual([]);
    await tab("effects");
    expect(asked.asked).toContain("heads/effect/base/1");
    expect(asked.asked.filter((key) => key.startsWith("attention"))).toHaveLength(2);
  });

  it("says that all effects are small, as colours do not", async () => {
    const made = manifest();
    const whole = source(made);
    const small: Source = {
      ...whole,
      get: async (key, signal) => {
        const got = await whole.get(key, signal);
        if (key !== "heads/effect/base/1" && key !== "heads/effect/tuned/1") return got;
        const { shape, data } = got as Tensor;
        return { shape, data: data.map((value) => value / 1000) } as Tensor;
      },
    };
    const caption = (root: HTMLElement) => root.querySelector(".tl-caption")!.textContent;
    const { root, store, change } = await show({ token: 7 }, small);
    expect(caption(root)).not.toContain("small");
    await change(() => store.setOptions("heads", { measure: "effect" }));
    expect(caption(root)).toMatch(/^All of it is small: at most 0\.\d+ % of a probability\./);
  });

  it("shows estimates hatched beside exact effects, one scale, and their agreement", async () => {
    const { root, made, tab, pickButton } = await show({ token: 7 });
    await tab("effects");
    const estimate = value(made, "heads/effect/tuned/1") as Tensor;
    const row = root.querySelector(".tl-effects [data-row='1/3']")!;
    const bar = (look: string) =>
      row.querySelector<HTMLElement>(`.tl-needle[data-side=tuned][data-look=${look}]`);
    expect(Number(bar("hatched")!.dataset.value)).toBe(estimate.data[7]);
    const exact = value(made, "heads/ablation/tuned/zero/1") as Tensor;
    expect(Number(bar("solid")!.dataset.value)).toBe(exact.data[7]);
    // Only two heads are measured, too few for a correlation.
    expect(all(root, ".tl-effects [data-look=solid]")).toHaveLength(4);
    expect(root.querySelector(".tl-effects > p")!.textContent).toContain("tuned – (2 measured)");
    expect(pickButton("the top twenty").hidden).toBe(true);
  });

  it("measures the top heads of a live trace, showing what is there so far", async () => {
    const made = manifest();
    const good = source(made);
    let finish = () => {};
    const from: Source = {
      has: () => false,
      get(key, signal, progress) {
        if (!/ablation.*\/answer$/.test(key)) return good.get(key, signal);
        setTimeout(
          () => progress?.({ done: 1, total: 20, label: `heads of ${key.split("/")[2]}` }),
          5,
        );
        return new Promise((resolve, reject) => {
          finish = () => resolve(value(made, key));
          signal.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
        });
      },
    };
    const { root, tab, pickButton } = await show({ _recorded: false }, from);
    await tab("effects");
    // Known so far: one head of both models.
    expect(all(root, ".tl-effects [data-look=solid]")).toHaveLength(2);
    pickButton("the top twenty").click();
    await vi.waitFor(() => expect(root.textContent).toContain("heads of base: 1 of 20"));
    expect(pickButton("this head").disabled).toBe(true);
    finish();
    await vi.waitFor(() =>
      expect(all(root, ".tl-effects [data-look=solid]").length).toBeGreaterThan(2),
    );
    await vi.waitFor(() => expect(root.textContent).toContain("heads of tuned: 1 of 20"));
    root.querySelector<HTMLElement>(".tl-job button")!.click();
    await vi.waitFor(() => expect(root.querySelector(".tl-job")!.textContent).toContain("Stopped"));
    await vi.waitFor(() => expect(pickButton("this head").disabled).toBe(false));
    expect(all(root, ".tl-effects [data-look=solid]")).toHaveLength(3);
  });

  it("offers word pairs of a live trace by buttons, then searches them", async () => {
    const made = manifest();
    const asked = source(made);
    const { root, store, tab, pickButton, change } = await show({ _recorded: false }, asked);
    await tab("pairs");
    expect(asked.asked.filter((key) => key.startsWith("word_pairs"))).toEqual([]);
    pickButton("of all heads").click();
    await vi.waitFor(() => expect(all(root, "tbody tr")).toHaveLength(3));
    expect(all(root, "tbody tr").map((row) => row.dataset.fate)).toEqual([
      "gained",
      "kept",
      "lost",
    ]);
    await change(() => root.querySelector<HTMLElement>("[data-fate=gained]")!.click());
    expect(all(root, "tbody tr").map((row) => row.dataset.fate)).toEqual(["kept", "lost"]);
    const search = root.querySelector<HTMLInputElement>("[type=search]")!;
    await change(() => {
      search.value = "translate";
      search.dispatchEvent(new Event("change"));
    });
    const found = all(root, ".tl-found [data-row]");
    expect(found.map((row) => row.dataset.row)).toEqual(["2/1", "0/3"]);
    await change(() => found[0]!.click());
    expect(store.selection).toMatchObject({ layer: 2, head: 1 });
  });

  it("zooms the maps with the keys, and names what is shown", async () => {
    const { root } = await show({ token: 7 });
    const maps = root.querySelector(".tl-maps")!;
    const note = () => root.querySelector(".tl-zoom-note")!.textContent;
    expect(note()).toContain("drag");
    press(maps, "+");
    expect(note()).toBe("rows 3–7, columns 3–7 of 8");
    press(maps, "ArrowLeft");
    expect(note()).toBe("rows 3–7, columns 2–6 of 8");
    press(maps, "0");
    expect(note()).toContain("drag");
  });

  it("shows the same list, words and pairs in another cell of the explorer", async () => {
    const { root, store, change, tab } = await show();
    const cell = document.createElement("div");
    document.body.append(cell);
    mount(store, "heads", cell, ending[0]!.signal).catch(() => {});
    await tab("pairs");
    await change(() => root.querySelector<HTMLElement>("[data-fate=kept]")!.click());
    const search = root.querySelector<HTMLInputElement>("[type=search]")!;
    await change(() => {
      search.value = "translate";
      search.dispatchEvent(new Event("change"));
    });
    await change(() => root.querySelector<HTMLElement>(".tl-controls .tl-button")!.click());
    await change(() => root.querySelector<HTMLElement>("[data-sort=tuned]")!.click());
    const shown = (panel: HTMLElement) => [
      panel.querySelector("[data-fate=kept]")!.getAttribute("aria-pressed"),
      panel.querySelector<HTMLInputElement>("[type=search]")!.value,
      all(panel, ".tl-pairs tbody tr").map((row) => row.dataset.fate),
      all(panel, ".tl-found [data-row]").map((row) => row.dataset.row),
      all(panel, "[data-sort][aria-pressed=true]").map((sorter) => sorter.dataset.sort),
      all(panel, ".tl-head-list [data-row]").map((row) => row.dataset.row),
    ];
    const [pressed, word, fates, found, sort] = shown(root);
    expect([pressed, word, fates]).toEqual(["false", "translate", ["gained", "lost"]]);
    expect([found, sort]).toEqual([["2/1", "0/3"], ["tuned"]]);
    await vi.waitFor(() => expect(shown(cell)).toEqual(shown(root)));
    // What a page or the kernel keeps of it.
    expect(changedOptions(store.options)).toEqual({
      heads: {
        view: "list",
        sort: "tuned",
        tab: "pairs",
        fates: ["gained", "lost"],
        word: "translate",
      },
    });
  });
});
