import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { embedded } from "../../src/sources/embedded.ts";

const live = () => new AbortController().signal;

function page(): string {
  const numbers = new Uint8Array(Float32Array.of(1, 2).buffer);
  const json = new TextEncoder().encode('{"a":"é"}');
  const index = new TextEncoder().encode(
    JSON.stringify({
      disagreement: {
        dtype: "float32",
        shape: [2],
        packing: "dense",
        scale: 1,
        length: 8,
      },
      "lens/base/3": { dtype: "json", shape: [], length: json.length },
      "shift/base": { dtype: "int8", shape: [3], scale: 1, length: 3 },
      "shift/tuned": { dtype: "int8", shape: [3], scale: 1, length: 3, beside: "shift/base" },
    }),
  );
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, index.length, true);
  const signed = [Int8Array.of(127, -127, 0), Int8Array.of(0, -2, 127)].map(
    (array) => new Uint8Array(array.buffer),
  );
  return gzipSync(Buffer.concat([size, index, numbers, json, ...signed])).toString("base64");
}

describe("embedded", () => {
  it("reads what the exporter writes", async () => {
    const source = await embedded(`\n${page()}\n`, ["lens/base/4"]);
    expect(source.has("disagreement")).toBe(true);
    expect(source.has("toString")).toBe(false);
    expect(await source.get("disagreement", live())).toMatchObject({ data: Float32Array.of(1, 2) });
    expect(await source.get("lens/base/3", live())).toEqual({ a: "é" });
    expect(await source.get("shift/base", live())).toMatchObject({
      data: Float32Array.of(1, -1, 0),
    });
    // -127 and -2 are 127 more than what 8 bits hold.
    expect(await source.get("shift/tuned", live())).toMatchObject({
      data: Float32Array.of(1, 1, 1),
    });
    await expect(source.get("lens/base/4", live())).rejects.toThrow("lens/base/4 was left out");
    await expect(source.get("lens/base/5", live())).rejects.toThrow("lens/base/5 is not recorded");
  });
});
