import { afterEach, describe, expect, it, vi } from "vitest";
import type { RotationOfLayer } from "../../../src/contract/contract.ts";
import type { Tensor } from "../../../src/contract/decode.ts";
import { selectionText } from "../../../src/core/selection.ts";
import { Store } from "../../../src/core/store.ts";
import { mount } from "../../../src/shell/mount.ts";
import type { Source } from "../../../src/sources/source.ts";
import { COMPONENTS, FakeModel, LAYERS, manifest, NEURONS, source, value } from "../../fixture.ts";

const ending: AbortController[] = [];
afterEach(() => {
  for (const controller of ending.splice(0)) controller.abort();
  document.body.replaceChildren();
});

async function show(state: Record<string, unknown> = {}, from: Source = source(manifest())) {
  const controller = new AbortController();
  ending.push(controller);
  const model = new FakeModel(manifest(), { _recorded: false, labels: {}, ...state });
  const store = new Store(model, from, controller.signal);
  const root = document.createElement("div");
  document.body.append(root);
  void mount(store, "concepts", root, controller.signal);
  const panel = () => root.querySelector<HTMLElement>("[data-panel]")!;
  const settled = () =>
    vi.waitFor(() => {
      expect(panel().dataset.state).toBe("ready");
      expect(panel().dataset.selection).toBe(selectionText(store.selection));
    }, 20_000);
  await settled();
  const all = (selector: string) => [...root.querySelectorAll<HTMLElement>(selector)];
  const click = async (selector: string) => {
    root.querySelector<HTMLElement>(selector)!.click();
    await settled();
  };
  const choose = async (label: string, wanted: string) => {
    const select = root.querySelector<HTMLSelectElement>(`select[aria-label="${label}"]`)!;
    select.value = wanted;
    select.dispatchEvent(new Event("change"));
    await settled();
  };
  const tab = (name: string) => click(`[data-tab=${name}]`);
  return { root, store, model, settled, all, click, choose, tab };
}

const made = (key: string) => value(manifest(), key) as Tensor;

describe("a component that says little", () => {
  it("is labelled, and does not open the panel however far it turned", async () => {
    const made = source(manifest());
    const most = COMPONENTS - 1; // of the fixture the last turned most
    const doubting: Source = {
      has: () => false,
      async get(key, signal) {
        const block = await made.get(key, signal);
        if (key !== "components/1") return block;
        const rows = block as unknown as object[];
        return rows.map((row, k) => (k === most ? { ...row, doubt: "weak match" } : row)) as never;
      },
    };
    const { all } = await show({ layer: 1 }, doubting);
    const shown = all('[data-unit][data-shown="true"], [data-unit][data-shown=""]').map(
      ({ dataset }) => dataset.unit,
    );
    expect(shown).toEqual([`component:${most - 1}`]);
    const doubted = all(`[data-unit="component:${most}"]`)[0]!;
    expect(doubted.textContent).toContain("weak match");
    expect(doubted.getAttribute("aria-label")).toContain("weak match");
  });
});

describe("the words of a unit", () => {
  it("stand in a cloud per model on the switch, each with its own score", async () => {
    const { all, choose } = await show({ layer: 1, unit: "component:0" });
    await choose("How the words are laid out", "clouds");
    const [block] = value(manifest(), "components/1") as [{ base: { words: [string, number][] } }];
    const base = all(".tl-zone[data-side=base] [data-word]");
    const shown = base.map((word) => [word.dataset.word, Number(word.dataset.value)]);
    expect(shown).toEqual(block.base.words);
    expect(all(".tl-zone[data-side=both]")).toHaveLength(0);
  });

  it("stand apart by end, and say which", async () => {
    const { root, all, choose } = await show({ layer: 1, unit: "component:3" });
    await choose("Ends of the direction", "apart");
    expect(all(".tl-zone")).toHaveLength(6);
    for (const field of all(".tl-field")) {
      const sign = field.getAttribute("aria-label")!.endsWith("negative") ? -1 : 1;
      for (const word of field.querySelectorAll<HTMLElement>("[data-word]")) {
        expect(Number(word.dataset.value) * sign).toBeGreaterThan(0);
      }
    }
    expect(root.querySelector(".tl-caption")!.textContent).not.toContain("minus");
  });

  it("are looked up in both models by a click", async () => {
    const { root, store, click, all } = await show({ layer: 1 });
    await click("[data-word=dog]");
    expect(root.querySelector<HTMLInputElement>("input[type=search]")!.value).toBe("dog");
    expect(all("[data-found]").map((one) => one.dataset.found)).toEqual(["base", "tuned"]);
    // Number 0 of tuned is the match of base's last one.
    await click("[data-found=tuned]");
    expect(store.selection).toMatchObject({ layer: 2, unit: `component:${COMPONENTS - 1}` });
    expect(all("[data-found=tuned]")[0]!.getAttribute("aria-pressed")).toBe("true");
  });
});

describe("a recording", () => {
  it("finds a word among the listed ones, and says so", async () => {
    const { root, click, all } = await show({ layer: 1, _recorded: true });
    await click("[data-word=dog]");
    const places = all("[data-found=base]").map(
      (one) => `${one.dataset.layer} ${one.dataset.unit} ${one.dataset.value}`,
    );
    const wanted = Array.from({ length: LAYERS }, (_, layer) =>
      (value(manifest(), `components/${layer}`) as { base: { words: [string, number][] } }[]).map(
        ({ base }, k) => {
          const found = base.words.find(([word]) => word === "dog");
          return found ? `${layer} component:${k} ${found[1]}` : "";
        },
      ),
    );
    expect(places.sort()).toEqual(wanted.flat().filter(Boolean).sort());
    expect(root.querySelector(".tl-unit-block .tl-caption")!.textContent).toContain(
      "Only the words",
    );
  });

  it("does not offer to measure", async () => {
    const { all, tab } = await show({ token: 7, layer: 1, _recorded: true });
    await tab("neurons");
    const measure = all("button").filter((one) => one.textContent === "measure exactly");
    expect(measure.map((one) => one.hidden)).toEqual([true]);
  });
});

describe("components", () => {
  it("are sorted by any column, with their variance summed up", async () => {
    const { all, tab, root, settled } = await show({ layer: 1 });
    await tab("components");
    const order = () => all("[data-unit]").map((one) => one.dataset.unit);
    const rising = Array.from({ length: COMPONENTS }, (_, k) => `component:${k}`);
    expect(order()).toEqual(rising);
    const sums = all("tbody td:nth-child(3)").map((cell) => Number(cell.dataset.value));
    expect(sums.map((sum) => sum.toFixed(2))).toEqual(["0.20", "0.40", "0.60", "0.80", "1.00"]);
    root.querySelector<HTMLElement>("[data-sort=angle]")!.click();
    await settled();
    expect((document.activeElement as HTMLElement).dataset.sort).toBe("angle");
    expect(order()).toEqual([...rising].reverse());
    const heading = root.querySelector("[data-sort=angle]")!.parentElement!;
    expect(heading.getAttribute("aria-sort")).toBe("descending");
    root.querySelector<HTMLElement>("[data-sort=match]")!.click();
    await settled();
    expect(order()).toEqual([...rising].reverse());
  });

  it("are named and labelled by hand", async () => {
    const { root, store, all, tab, settled } = await show({ layer: 1, unit: "component:2" });
    const edit = root.querySelector<HTMLElement>(".tl-naming .tl-button")!;
    edit.click();
    const input = root.querySelector<HTMLInputElement>(".tl-naming input[type=text]")!;
    expect(document.activeElement).toBe(input);
    input.value = " names of <b>animals</b> ";
    root.querySelector<HTMLInputElement>(".tl-naming input[value=writing]")!.checked = true;
    root.querySelector<HTMLInputElement>(".tl-naming input[value=syntax]")!.checked = true;
    root.querySelector<HTMLInputElement>(".tl-naming input[value=semantics]")!.click(); // instead
    root.querySelector<HTMLFormElement>(".tl-naming form")!.requestSubmit();
    await settled();
    const label = { name: "names of <b>animals</b>", labels: ["writing", "semantics"] };
    expect(store.labels).toEqual({ "1/2": label });
    const given = () => root.querySelector(".tl-given")!.textContent;
    const wanted = "names of <b>animals</b> · writing, semantics";
    await vi.waitFor(() => expect(given()).toContain(wanted), 20_000);
    await tab("components");
    expect(all(".tl-cell-name").map((cell) => cell.textContent)).toContain(label.name);
    // A name that is taken away leaves no entry.
    store.setLabel(1, 2, { name: "", labels: [] });
    expect(store.labels).toEqual({});
  });
});

describe("neurons", () => {
  const bars = (all: (selector: string) => HTMLElement[], cell: number) =>
    all(`.tl-neuron > :nth-child(${cell})`).map((one) =>
      [...one.querySelectorAll<HTMLElement>(".tl-needle")].map((bar) => [
        Number(bar.dataset.value),
        bar.dataset.look ?? "solid",
      ]),
    );

  it("have an estimated effect on the selected token, and are sorted by change", async () => {
    const { all, tab, choose } = await show({ token: 7, layer: 1 });
    await tab("neurons");
    const names = () => all(".tl-neuron").map((one) => one.dataset.unit);
    expect(names()).toEqual(["neuron:9", "neuron:7"]);
    const at = (side: string) => made(`neurons/effect/${side}/1`).data[NEURONS + 9];
    expect(bars(all, 3)[0]).toEqual([
      [at("base"), "hatched"],
      [at("tuned"), "hatched"],
    ]);
    expect(bars(all, 4)).toEqual([[], []]);
    await choose("Order of the neurons", "changed");
    expect(names()).toEqual(["neuron:9", "neuron:7"]);
    await choose("Order of the neurons", "effect");
    const effect = (n: number) =>
      Math.max(
        ...["base", "tuned"].map((side) =>
          Math.abs(made(`neurons/effect/${side}/1`).data[NEURONS + n]!),
        ),
      );
    const strongest = Array.from({ length: NEURONS }, (_, n) => n).sort(
      (a, b) => effect(b) - effect(a),
    );
    expect(names()).toEqual(strongest.slice(0, 12).map((n) => `neuron:${n}`));
  });

  it("are measured on request only, beside the estimate", async () => {
    const from = source(manifest());
    const { root, all, tab } = await show({ token: 7, layer: 1 }, from);
    await tab("neurons");
    expect(from.asked.filter((key) => key.startsWith("neuron/ablation"))).toEqual([]);
    const start = all("button").find((one) => one.textContent === "measure exactly")!;
    start.click();
    await vi.waitFor(() => {
      expect(bars(all, 4).every((cell) => cell.length === 2)).toBe(true);
      expect(start.hidden).toBe(true);
    }, 20_000);
    const exact = (side: string) => made(`neuron/ablation/${side}/1/9/1`).data[0];
    expect(bars(all, 4)[0]).toEqual([
      [exact("base"), "solid"],
      [exact("tuned"), "solid"],
    ]);
    expect(bars(all, 3)[0]!.map(([, look]) => look)).toEqual(["hatched", "hatched"]);
    expect(root.querySelector(".tl-neuron")!.getAttribute("aria-label")).toMatch(
      /estimated effect .* nats; measured effect .* nats/,
    );
  });

  it("of a recording say the same from what it keeps", async () => {
    const { all } = await show({ token: 7, layer: 1, unit: "neuron:7", _recorded: true });
    const bars = all(".tl-card .tl-needle").map((bar) => Number(bar.dataset.value));
    const active = ["base", "tuned"].map((s) => made(`activations/${s}/1/neuron/7`).data[6]);
    // Value vectors of length 1 with cosine 0.5 are as far apart as they are long.
    expect(all(".tl-fact")[0]!.textContent).toContain("by 100 % of its length, cosine 0.500");
    expect(bars.slice(0, 4)).toEqual([...active, ...active]);
  });

  it("say whether the vector moved or the neuron is used more", async () => {
    const { all, root } = await show({ token: 7, layer: 1, unit: "neuron:7" });
    const facts = all(".tl-fact").map((fact) => fact.textContent);
    expect(facts[0]).toBe("The vector movedby 2.0 % of its length, cosine 0.990");
    expect(facts[1]).toContain("It is used more");
    expect(facts).toHaveLength(3);
    const button = root.querySelector<HTMLElement>(".tl-card button")!;
    button.click();
    await vi.waitFor(() => expect(all(".tl-fact")).toHaveLength(4), 20_000);
    expect(all(".tl-fact b")[3]!.textContent).toBe("Effect, measured");
  });

  it("of an answer that one model has not got have no effect there", async () => {
    const own = manifest({ shared: false });
    const controller = new AbortController();
    ending.push(controller);
    const from = source(own);
    const store = new Store(
      new FakeModel(own, { token: 8, layer: 1, unit: "neuron:7", _recorded: false }),
      from,
      controller.signal,
    );
    const root = document.createElement("div");
    document.body.append(root);
    await mount(store, "concepts", root, controller.signal);
    root.querySelector<HTMLElement>(".tl-card button")!.click();
    await vi.waitFor(() => expect(root.querySelectorAll(".tl-fact")).toHaveLength(4), 20_000);
    expect(from.asked).toContain("neuron/ablation/base/1/7/2");
    expect(from.asked).not.toContain("neuron/ablation/tuned/1/7/2");
  });
});

describe("rotation", () => {
  it("lists every layer against its null, and a click selects the layer", async () => {
    const { all, tab, store, root, settled } = await show();
    await tab("rotation");
    const rows = value(manifest(), "rotation") as RotationOfLayer[];
    expect(all("[data-layer] .tl-gauge i").map((bar) => Number(bar.dataset.value))).toEqual(
      rows.flatMap(({ angle, null: random }) => [angle, random]),
    );
    expect(all("[data-layer]")[1]!.getAttribute("aria-label")).toContain("added: ");
    root.querySelector<HTMLElement>("[data-layer='2']")!.click();
    await settled();
    expect(store.selection.layer).toBe(2);
    expect(all("[data-layer][aria-pressed=true]").map((one) => one.dataset.layer)).toEqual(["2"]);
  });
});
