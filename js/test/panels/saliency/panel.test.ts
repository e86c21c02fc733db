import { afterEach, describe, expect, it, vi } from "vitest";
import { keys, type Manifest } from "../../../src/contract/contract.ts";
import type { Tensor, Value } from "../../../src/contract/decode.ts";
import { exactRun, rowsDone } from "../../../src/core/runs.ts";
import { Store } from "../../../src/core/store.ts";
import { bySide } from "../../../src/maths/numbers.ts";
import { coversAll, type Shares, sharesOf } from "../../../src/panels/saliency/shares.ts";
import type { Table } from "../../../src/panels/saliency/table.ts";
import { mount } from "../../../src/shell/mount.ts";
import { abortError, type Progress, type Source } from "../../../src/sources/source.ts";
import { FakeModel, manifest, source, value } from "../../fixture.ts";

const ending: AbortController[] = [];
afterEach(() => {
  for (const controller of ending.splice(0)) controller.abort();
  document.body.replaceChildren();
});

function store(made = manifest(), from: Source = source(made), state = {}): Store {
  const controller = new AbortController();
  ending.push(controller);
  return new Store(new FakeModel(made, state), from, controller.signal);
}

function show(made: Manifest, from: Source = source(made), state = {}) {
  const controller = new AbortController();
  ending.push(controller);
  const model = new FakeModel(made, state);
  const mine = new Store(model, from, controller.signal);
  const root = document.createElement("div");
  document.body.append(root);
  mount(mine, "saliency", root, controller.signal).catch(() => {});
  const panel = () => root.querySelector<HTMLElement>("[data-panel]")!;
  const settled = () => vi.waitFor(() => expect(panel()?.dataset.state).toBe("ready"));
  return { root, model, store: mine, settled };
}

const token = (root: HTMLElement, position: number) =>
  root.querySelector<HTMLElement>(`[data-token="${position}"]`)!;
const text = (root: HTMLElement) => root.querySelector("[data-panel]")!.textContent!;
const named = (root: HTMLElement, name: string) =>
  [...root.querySelectorAll("button")].find((one) => one.textContent === name)!;

/** A live trace whose exact effects come a row at a time, when told. */
function live(made: Manifest) {
  const plain = source(made);
  const done = { base: 0, tuned: 0 };
  const reports: Record<string, (report: Progress) => void> = {};
  const waiting: Record<string, { resolve(value: Value): void; signal: AbortSignal }> = {};
  const whole = (side: "base" | "tuned") => value(made, `saliency/${side}/occlusion`) as Tensor;
  const from: Source = {
    has: () => false,
    get(key, signal, progress) {
      const [kind, side, name, rest] = key.split("/") as [string, "base" | "tuned", string, string];
      if (kind !== "saliency" || name !== "occlusion") return plain.get(key, signal, progress);
      const { shape, data } = whole(side);
      if (rest === "so_far") {
        const known = data.map((one, i) => (i < done[side] * shape[1]! ? one : Number.NaN));
        return Promise.resolve({ shape, data: known as Float32Array });
      }
      reports[side] = progress!;
      return new Promise((resolve, reject) => {
        waiting[side] = { resolve, signal };
        signal.addEventListener("abort", () => reject(abortError()));
      });
    },
  };
  return {
    from,
    waiting,
    advance(rows: number) {
      for (const side of ["base", "tuned"] as const) {
        done[side] += rows;
        reports[side]!({ done: done[side], total: 6, label: "occluding" });
        if (done[side] >= 6) waiting[side]!.resolve(whole(side));
      }
    },
  };
}

describe("exact effects", () => {
  it("are known so far, stopped, and taken up again", async () => {
    const made = manifest();
    const { from, advance, waiting } = live(made);
    const mine = store(made, from);
    const run = exactRun(mine, "occlusion");
    expect(exactRun(mine, "occlusion")).toBe(run);
    const seen: string[] = [];
    run.subscribe(() => seen.push(run.status), new AbortController().signal);
    const { signal } = mine;
    run.begin(await bySide((side) => mine.block(keys.saliencySoFar(side, "occlusion"), signal)));
    expect([run.status, rowsDone(run.tables.base!)]).toEqual(["running", 0]);
    await vi.waitFor(() => expect(Object.keys(waiting)).toHaveLength(2));
    advance(2);
    await vi.waitFor(() => expect(rowsDone(run.tables.tuned!)).toBe(2));
    run.stop();
    expect(run.status).toBe("stopped");
    await vi.waitFor(() => expect(waiting.base!.signal.aborted).toBe(true));
    expect(rowsDone(run.tables.base!)).toBe(2);
    const before = waiting.base;
    run.start();
    await vi.waitFor(() => expect(waiting.base).not.toBe(before));
    advance(4);
    await vi.waitFor(() => expect(run.status).toBe("done"));
    expect(run.tables.base!.data).toEqual((value(made, "saliency/base/occlusion") as Tensor).data);
    expect(seen).toContain("stopped");
  });

  it("take the place of the estimate, and are never mixed with it unseen", async () => {
    const made = manifest();
    const { methods } = made;
    made.methods = [...methods, { ...methods[0]!, name: "attention_knockout", title: "Knock-out" }];
    const { from, advance, waiting } = live(made);
    const { root, settled } = show(made, from, { method: "occlusion", token: 7 });
    await settled();
    const bars = () =>
      [0, 1, 2, 3, 4, 5].map(
        (n) => token(root, n).querySelector<HTMLElement>(".tl-down > .tl-bar")!,
      );
    const guess = value(made, "saliency/tuned/attention_knockout") as Tensor;
    const truth = value(made, "saliency/tuned/occlusion") as Tensor;
    const column = (of: Tensor) => [0, 1, 2, 3, 4, 5].map((n) => of.data[n * 2 + 1]!);
    const values = () => bars().map((bar) => Number(bar.dataset.value));
    expect(values()).toEqual(column(guess));
    expect(bars().map((bar) => bar.dataset.bar)).not.toContain("solid");
    await vi.waitFor(() => expect(Object.keys(waiting)).toHaveLength(2));
    advance(3);
    await vi.waitFor(() =>
      expect(values()).toEqual([...column(truth).slice(0, 3), ...column(guess).slice(3)]),
    );
    for (const [n, bar] of bars().entries()) {
      if (values()[n]! < 0) continue;
      expect(bar.dataset.bar).toBe(n < 3 ? "solid" : "hatched");
    }
    await vi.waitFor(() =>
      expect(token(root, 5).getAttribute("aria-label")).toContain("not measured yet"),
    );
    expect(text(root)).toContain("Hatched: not measured yet");
    named(root, "Stop").click();
    expect(named(root, "Continue")).toBeDefined();
    expect(values().slice(0, 3)).toEqual(column(truth).slice(0, 3));
    named(root, "Continue").click();
    await vi.waitFor(() => expect(waiting.tuned!.signal.aborted).toBe(false));
    advance(3);
    await vi.waitFor(() => expect(values()).toEqual(column(truth)));
    await vi.waitFor(() => expect(text(root)).not.toContain("Hatched: not measured yet"));
  });
});

describe("shares", () => {
  const table = (rows: number[][]): Table => {
    const effects = rows.flat();
    const width = rows[0]!.length;
    return { effects, width, exact: effects.map(() => true), place: (column) => column };
  };
  const rows = [
    [0, 1],
    [1, 0],
    [2, 4],
    [1, -3],
    [4, 0],
    [0, 0],
  ];
  const shares = (of: number[][], groups: number[][] | null = null, state = {}) =>
    sharesOf(store(manifest(), undefined, state), { base: table(of), tuned: table(of) }, groups);

  it("count positive effects only, over the answer and along it", () => {
    const { overall, along } = shares(rows) as Shares;
    expect(overall.base!.instruction).toBeCloseTo(7 / 13);
    expect(overall.base!.context).toBeCloseTo(4 / 13);
    expect(overall.base!.template).toBeCloseTo(2 / 13);
    expect(along.tuned[1]).toEqual({ instruction: 4 / 5, context: 0, template: 1 / 5, rest: 0 });
  });

  it("count the effect of a group once", () => {
    const { overall } = shares(rows, [[0], [1], [2, 3], [4], [5]]) as Shares;
    expect(overall.base!.instruction).toBeCloseTo(3.5 / 9.5);
  });

  it("are none without a positive effect, and say when the instruction is everything", () => {
    expect(shares(rows.map((row) => row.map(() => -1)))!.overall.base).toBeNull();
    const covered = (state: object) => coversAll(store(manifest(), undefined, state));
    expect(covered({})).toBe(false);
    expect(covered({ marks: [[2, 5, "instruction"]] })).toBe(true);
    expect(shares(rows, null, { marks: [] })!.marked).toBe(false);
  });
});

describe("the saliency panel", () => {
  it("extends the selection over answer tokens with Shift", async () => {
    const made = manifest();
    const { root, store: mine, settled } = show(made);
    await settled();
    token(root, 6).click();
    token(root, 7).dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: true }));
    expect(mine.span).toEqual([6, 7]);
    await vi.waitFor(() => expect(text(root)).toContain("2 answer tokens"));
    token(root, 7).dispatchEvent(
      new KeyboardEvent("keydown", { key: "ArrowLeft", shiftKey: true, bubbles: true }),
    );
    expect(mine.span).toBeNull(); // back at the token where it began
    mine.select({ token: 3 });
    expect(mine.span).toBeNull();
  });

  it("follows marks set from Python, and writes its own", async () => {
    const { root, model, store: mine, settled } = show(manifest());
    await settled();
    model.set("marks", [[4, 5, "instruction"]]);
    await vi.waitFor(() => expect(token(root, 4).dataset.segment).toBe("instruction"));
    expect(token(root, 2).dataset.segment).toBe("other");
    named(root, "mark spans").click();
    const press = (key: string, shiftKey = false) =>
      document.activeElement!.dispatchEvent(
        new KeyboardEvent("keydown", { key, shiftKey, bubbles: true, cancelable: true }),
      );
    token(root, 2).focus();
    press("ArrowRight", true);
    press("Enter");
    expect(model.get("marks")).toEqual([[2, 5, "instruction"]]);
    expect(mine.selection.token).toBe(-1);
    await vi.waitFor(() => expect(text(root)).toContain("covers the whole prompt"));
  });

  it.each([
    ["no answer", [], "There is no answer to explain"],
    ["an answer of one token", [" Yes"], "What each answer token rests on"],
  ])("stands %s", async (_name, answer, says) => {
    const made = manifest();
    for (const side of ["base", "tuned"] as const) {
      made.answers[side].tokens = answer.map((text, id) => ({
        id,
        text,
        start: 0,
        end: 1,
        segment: "other",
      }));
    }
    const { root, settled } = show(made);
    await settled();
    expect(text(root)).toContain(says);
  });

  it("stands a prompt of one token", async () => {
    const made = manifest();
    made.prompt_tokens = made.prompt_tokens.slice(2, 3);
    const { root, settled } = show(made, undefined, { token: 1 });
    await settled();
    expect(root.querySelectorAll(".tl-prompt [data-token]")).toHaveLength(1);
    expect(text(root)).toContain("covers the whole prompt");
  });
});
