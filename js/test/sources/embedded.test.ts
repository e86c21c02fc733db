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
        offset: 0,
        length: 8,
      },
      "lens/base/3": { dtype: "json", shape: [], offset: 8, length: json.length },
    }),
  );
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, index.length, true);
  return gzipSync(Buffer.concat([size, index, numbers, json])).toString("base64");
}

describe("embedded", () => {
  it("reads what the exporter writes", async () => {
    const source = await embedded(`\n${page()}\n`, ["lens/base/4"]);
    expect(source.has("disagreement")).toBe(true);
    expect(source.has("toString")).toBe(false);
    expect(await source.get("disagreement", live())).toMatchObject({ data: Float32Array.of(1, 2) });
    expect(await source.get("lens/base/3", live())).toEqual({ a: "é" });
    await expect(source.get("lens/base/4", live())).rejects.toThrow("lens/base/4 was left out");
    await expect(source.get("lens/base/5", live())).rejects.toThrow("lens/base/5 is not recorded");
  });
});
