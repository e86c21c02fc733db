import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Store } from "../src/core/store.ts";
import { type Channel, kernel, NO_ANSWER } from "../src/sources/kernel.ts";
import { FakeModel, manifest, source } from "./fixture.ts";

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

describe("kernel", () => {
  function fake() {
    const sent: { kind: string; id: string; key?: string }[] = [];
    let receive: (message: never, buffers: DataView[]) => void = () => {};
    const channel: Channel = {
      send: (content) => void sent.push(content as (typeof sent)[number]),
      on: (_event, callback) => {
        receive = callback as typeof receive;
      },
      off: () => {},
    };
    return { sent, channel, answer: (m: object, b: DataView[] = []) => receive(m as never, b) };
  }
  const block = (id: string) =>
    [
      { kind: "block", id, header: { dtype: "float32", shape: [1], packing: "dense", scale: 1 } },
      [new DataView(Float32Array.of(42).buffer)],
    ] as const;

  it("answers the request with the same id", async () => {
    const { sent, channel, answer } = fake();
    const from = kernel(channel, live(), () => {});
    const first = from.get("a", live());
    const second = from.get("b", live());
    expect(sent.map(({ kind, key }) => [kind, key])).toEqual([
      ["block", "a"],
      ["block", "b"],
    ]);
    answer({ kind: "error", id: sent[0]!.id, key: "a", message: "a is not a block" });
    answer(...(block(sent[1]!.id) as unknown as [object, DataView[]]));
    await expect(first).rejects.toThrow("a is not a block");
    expect(await second).toMatchObject({ data: Float32Array.of(42) });
  });

  it("sends cancel when given up", async () => {
    const { sent, channel } = fake();
    const stop = new AbortController();
    const lost = kernel(channel, live(), () => {}).get("a", stop.signal);
    stop.abort();
    await expect(lost).rejects.toMatchObject({ name: "AbortError" });
    expect(sent.at(-1)).toEqual({ kind: "cancel", id: sent[0]!.id });
  });

  it("waits longer while progress comes, then says that nobody answers", async () => {
    const { sent, channel, answer } = fake();
    const late = vi.fn();
    const heard = vi.fn();
    const lost = kernel(channel, live(), late, 1000).get("a", live(), heard);
    const check = expect(lost).rejects.toThrow(NO_ANSWER);
    await vi.advanceTimersByTimeAsync(900);
    answer({ kind: "progress", id: sent[0]!.id, key: "a", done: 1, total: 2, label: "x" });
    expect(heard).toHaveBeenCalledWith(expect.objectContaining({ done: 1, total: 2 }));
    await vi.advanceTimersByTimeAsync(900);
    await vi.advanceTimersByTimeAsync(200);
    await check;
    answer(...(block(sent[0]!.id) as unknown as [object, DataView[]]));
    expect(late).toHaveBeenCalledWith("a", expect.objectContaining({ shape: [1] }));
  });

  it("says at once that nobody answers when the connection is gone", async () => {
    const channel: Channel = {
      send: () => {
        throw new Error("comm closed");
      },
      on: () => {},
      off: () => {},
    };
    await expect(kernel(channel, live(), () => {}).get("a", live())).rejects.toThrow(NO_ANSWER);
  });
});
