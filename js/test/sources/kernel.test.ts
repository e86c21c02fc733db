import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Channel, kernel, NO_ANSWER, NO_KERNEL } from "../../src/sources/kernel.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const live = () => new AbortController().signal;

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
    const { sent, channel, answer } = fake();
    const from = kernel(channel, live(), () => {});
    const first = from.get("a", live());
    answer(...(block(sent[0]!.id) as unknown as [object, DataView[]]));
    await first;
    channel.send = () => {
      throw new Error("comm closed");
    };
    await expect(from.get("b", live())).rejects.toThrow(NO_ANSWER);
  });

  it("says where no kernel ever was that none is running", async () => {
    const { channel } = fake();
    channel.send = () => {
      throw new Error("no comm");
    };
    await expect(kernel(channel, live(), () => {}).get("a", live())).rejects.toThrow(NO_KERNEL);
  });
});
