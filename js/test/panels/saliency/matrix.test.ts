import { describe, expect, it, vi } from "vitest";
import type { Tensor } from "../../../src/contract/decode.ts";
import { manifest, source, value } from "../../fixture.ts";
import { all, press, show } from "../../mounted.ts";

const area = (root: HTMLElement) => root.querySelector<HTMLElement>(".tl-matrix")!;
const painted = (root: HTMLElement) =>
  (area(root) as unknown as { twinlens: { values: Record<string, number[]>; columns: number[] } })
    .twinlens;

describe("the matrix of prompt by answer", () => {
  it("shows the whole answer: both models and their difference, without the template", async () => {
    const { root, made, store, settled } = await show("saliency");
    const { values, columns } = painted(root);
    expect(columns).toEqual([2, 3, 4]);
    for (const side of ["base", "tuned"] as const) {
      const { data } = value(made, `saliency/${side}/gradient`) as Tensor;
      const cells = [0, 1].flatMap((m) => columns.map((n) => data[n * 2 + m]!));
      expect([...values[side]!]).toEqual(cells);
    }
    expect(values.third![4]).toBeCloseTo(values.tuned![4]! - values.base![4]!);
    expect(all(root, ".tl-prompt .tl-up > .tl-bar[data-value]")).toHaveLength(0);
    root.querySelector<HTMLElement>(".tl-matrix-foot button")!.click();
    await settled();
    expect(store.options.saliency.hideTemplate).toBe(false);
    await vi.waitFor(() => expect(painted(root).columns).toEqual([0, 1, 2, 3, 4, 5]));
  });

  it("selects a cell with the arrow keys, a row or a column with its name", async () => {
    const { root, store, settled } = await show("saliency");
    press(area(root), "ArrowDown");
    await settled();
    expect([store.selection.token, store.column]).toEqual([6, 2]);
    press(area(root), "ArrowRight");
    press(area(root), "ArrowDown");
    await settled();
    expect([store.selection.token, store.column]).toEqual([7, 3]);
    const base = painted(root).values.base![4]!;
    expect(root.querySelector(".tl-matrix-cell")!.textContent).toMatch(
      /this.*→.*DOG.*base .*tuned/,
    );
    expect(base).not.toBeNaN();
    all(root, ".tl-matrix-columns [data-position='4']")[0]!.click();
    await settled();
    expect([store.selection.token, store.column]).toEqual([4, -1]);
    all(root, ".tl-matrix-rows [data-position='6']")[0]!.click();
    await settled();
    expect([store.selection.token, store.column]).toEqual([6, -1]);
    expect(all(root, ".tl-matrix-rows [data-chosen]")[0]!.textContent).toBe("THE");
  });

  it("has rows of their own, and no difference, where each model reads its own answer", async () => {
    const { root } = await show("saliency", manifest({ shared: false }));
    const shown = all(root, ".tl-matrix-picture").filter((one) => !one.hidden);
    expect(shown.map((one) => one.querySelectorAll(".tl-matrix-rows > span").length)).toEqual([
      3, 2,
    ]);
  });

  it("knows only the row of the one column that was computed", async () => {
    const { root } = await show("saliency", undefined, undefined, { token: 7 });
    const { base } = painted(root).values;
    expect(base!.slice(0, 3).every(Number.isNaN)).toBe(true);
    expect(base!.slice(3).some(Number.isNaN)).toBe(false);
  });
});

describe("the answer as spine", () => {
  it("has both probabilities under every token, and a line where they part", async () => {
    const { root, made } = await show("saliency");
    const steps = value(made, "answer/steps") as unknown as Record<string, { logprob: number }>[];
    const marks = all(root, ".tl-answer .tl-spine");
    for (const [m, mark] of marks.entries()) {
      for (const side of ["base", "tuned"]) {
        const bar = mark.querySelector<HTMLElement>(`[data-side=${side}]`)!;
        expect(Number(bar.dataset.value)).toBeCloseTo(Math.exp(steps[m]![side]!.logprob));
      }
      const gap = steps[m]!.tuned!.logprob - steps[m]!.base!.logprob;
      const line = mark.querySelector<HTMLElement>(".tl-spine-line")!;
      expect(line.hasAttribute("data-apart")).toBe(Math.abs(gap) > 1);
    }
  });

  it("leads to the first divergence, and says what both expect there with the token itself", async () => {
    const { root, store, settled } = await show("saliency");
    const jump = root.querySelector<HTMLElement>("[data-jump]")!;
    expect(jump.textContent).toContain("DOG");
    jump.click();
    await settled();
    expect(store.selection.token).toBe(7);
    const said = root.querySelector(".tl-spine-text")!.textContent!;
    expect(said).toMatch(/base expects .*other.* 60 %, .*DOG.*tuned expects/);
    const token = root.querySelector(".tl-answer [data-token='7']")!;
    await vi.waitFor(() =>
      expect(token.getAttribute("aria-label")).toContain("KL: tuned ‖ base 2, base ‖ tuned 1 nats"),
    );
  });
});

describe("beside the matrix", () => {
  const PUBLISHED = { ...manifest().methods[0]!, name: "gradient_x_input", title: "G × I" };

  it("stands what hiding a segment costs, then the published score, and why they may differ", async () => {
    const made = manifest();
    made.methods = [PUBLISHED, ...made.methods];
    const { root } = await show("saliency", made);
    await vi.waitFor(() => expect(all(root, ".tl-cost")).toHaveLength(4));
    const text = root.querySelector(".tl-costs")!.textContent!;
    expect(text).toContain("tuned’s answer, read by both");
    expect(text).toContain("base’s own answer");
    expect(
      all(root, "[data-segment=instruction] .tl-cost").map((one) => one.dataset.value),
    ).toEqual(["3", "7.5", "3", "7.5"]);
    expect(text).toContain("Instruction score of Wu et al. (both read tuned’s answer): g × i");
    const scores = all(root, "[data-score]").map((one) => Number(one.dataset.value));
    expect(scores).toHaveLength(2);
    expect(root.querySelector("[data-disagree]") === null).toBe(scores[1]! > scores[0]!);
  });

  it("an estimate that predicts nothing is grey and says so, until the exact one is asked for", async () => {
    const made = manifest();
    const { root, store } = await show("saliency", made, source(made));
    const body = root.querySelector(".tl-tokens")!;
    await vi.waitFor(() => expect(body.hasAttribute("data-weak")).toBe(true));
    const warning = root.querySelector<HTMLElement>(".tl-weak")!;
    expect(warning.textContent).toContain(
      "does not predict what hiding a token does here (base ρ 0.10, tuned ρ 0.50)",
    );
    warning.querySelector("button")!.click();
    expect(store.method!.name).toBe("occlusion");
    await vi.waitFor(() => expect(body.hasAttribute("data-weak")).toBe(false));
    expect(warning.hidden).toBe(true);
  });

  it("the badge judges densities where these are drawn", async () => {
    const made = manifest();
    const recorded = { ...source(made), has: (key: string) => key.startsWith("saliency/") };
    const view = { saliency: { answerMeasure: "density" } };
    const { root } = await show("saliency", made, recorded, { view });
    const badge = root.querySelector(".tl-badge")!;
    await vi.waitFor(() => expect(badge.textContent).toContain("density against that of exact"));
    const live = await show("saliency", made, undefined, { view });
    await vi.waitFor(() =>
      expect(live.root.querySelector(".tl-badge")!.textContent).toContain(
        "its density not checked",
      ),
    );
  });
});
