import { describe, expect, it } from "vitest";
import { fromAddress, type Moment, toAddress } from "../../src/core/selection.ts";
import { Store } from "../../src/core/store.ts";
import { FakeModel, manifest, source } from "../fixture.ts";

const start: Moment = {
  ...{ token: -1, layer: -1, head: -1, unit: "" },
  ...{ method: "gradient", marks: null, view: {} },
};

describe("the address", () => {
  it("says what is not as at the start, and brings it back", () => {
    const moment: Moment = {
      ...{ ...start, token: 27, method: "occlusion", unit: "neuron:3", layer: 1 },
      view: { dashboard: { tab: "heads" } },
      marks: [[0, 2, "instruction"]],
    };
    const address = toAddress(moment, start);
    expect(address).toMatch(/^token=27&layer=1&unit=neuron%3A3&method=occlusion&/);
    expect(fromAddress(`#${address}`, start)).toEqual(moment);
    expect(toAddress(start, start)).toBe("");
  });

  it("passes over what it cannot read", () => {
    expect(fromAddress("#token=dog&layer=1.5&colour=red&view={&head=2", start)).toEqual({
      ...start,
      head: 2,
    });
  });
});

describe("undo and redo", () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => done(undefined)));
  it("step through what was seen; changes of one frame are one step", async () => {
    const made = manifest();
    const store = new Store(new FakeModel(made), source(made), new AbortController().signal);
    store.select({ token: 7 });
    await frame();
    store.setOptions("heads", { tab: "effects" });
    store.select({ layer: 1, head: 2 });
    await frame();
    const seen = store.moment;
    store.undo();
    await frame();
    expect([store.selection.token, store.selection.head, store.options.heads.tab]).toEqual([
      ...[7, -1, "maps"],
    ]);
    store.undo();
    await frame();
    expect(store.selection.token).toBe(-1);
    store.undo();
    store.redo();
    await frame();
    store.redo();
    await frame();
    expect(store.moment).toEqual(seen);
    store.undo();
    await frame();
    store.select({ token: 6 });
    await frame();
    store.redo(); // there is nothing ahead any more
    expect(store.selection.token).toBe(6);
  });
});
