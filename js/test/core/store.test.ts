import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Store } from "../../src/core/store.ts";
import { FakeModel, manifest, source } from "../fixture.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "requestAnimationFrame"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const live = () => new AbortController().signal;

function setup(wait = 10) {
  const made = manifest();
  const model = new FakeModel(made);
  const from = source(made, wait);
  return { model, from, store: new Store(model, from, live()) };
}

describe("blocks", () => {
  it("are asked for once, however many want them", async () => {
    const { store, from } = setup();
    const both = [store.block("disagreement", live()), store.block("disagreement", live())];
    await vi.advanceTimersByTimeAsync(20);
    const [first, second] = await Promise.all(both);
    expect(first).toBe(second);
    expect(await store.block("disagreement", live())).toBe(first);
    expect(from.asked).toEqual(["disagreement"]);
  });

  it("are cancelled when nobody wants them any more", async () => {
    const { store, from } = setup(1000);
    const [one, two] = [new AbortController(), new AbortController()];
    const results = Promise.allSettled([
      store.block("disagreement", one.signal),
      store.block("disagreement", two.signal),
    ]);
    one.abort();
    await vi.advanceTimersByTimeAsync(200);
    expect(from.cancelled).toEqual([]);
    two.abort();
    await vi.advanceTimersByTimeAsync(200);
    expect(from.cancelled).toEqual(["disagreement"]);
    const [first] = await results;
    expect(first).toMatchObject({ status: "rejected", reason: { name: "AbortError" } });
  });

  it("go on when the next run wants the same one", async () => {
    const { store, from } = setup();
    const first = new AbortController();
    const lost = store.block("disagreement", first.signal).catch(() => "gone");
    first.abort();
    const again = store.block("disagreement", live());
    await vi.advanceTimersByTimeAsync(200);
    expect(await lost).toBe("gone");
    expect(await again).toMatchObject({ shape: [2] });
    expect(from.asked).toHaveLength(1);
    expect(from.cancelled).toEqual([]);
  });

  it("can be asked for again after an error", async () => {
    const { store, from } = setup();
    const failed = expect(store.block("nonsense", live())).rejects.toThrow("no nonsense here");
    await vi.advanceTimersByTimeAsync(20);
    await failed;
    store.block("nonsense", live()).catch(() => {});
    expect(from.asked).toHaveLength(2);
  });
});

describe("selection", () => {
  it("is written through once, without equal values", () => {
    const { store, model } = setup();
    const set = vi.spyOn(model, "set");
    store.select({ token: 4, layer: 1 });
    expect(set.mock.calls).toEqual([
      ["token", 4],
      ["layer", 1],
    ]);
    expect(model.saved).toBe(1);
    store.select({ token: 4 });
    expect(model.saved).toBe(1);
  });

  it("tells panels once per frame, also when Python sets it", async () => {
    const { store, model } = setup();
    const listener = vi.fn();
    const ending = new AbortController();
    store.subscribe(listener, ending.signal);
    store.select({ token: 1, layer: 2, head: 0 });
    model.set("token", 3);
    expect(listener).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(50);
    expect(listener).toHaveBeenCalledTimes(1);
    expect(store.selection.token).toBe(3);
    ending.abort();
    model.set("token", 5);
    await vi.advanceTimersByTimeAsync(50);
    expect(listener).toHaveBeenCalledTimes(1);
  });

  it("ignores what is outside the trace", () => {
    const store = new Store(
      new FakeModel(manifest(), { token: 99, layer: 1, head: 77 }),
      source(manifest()),
      live(),
    );
    expect(store.selection).toEqual({ token: -1, layer: 1, head: -1, unit: "" });
  });
});
