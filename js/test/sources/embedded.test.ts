import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { embedded } from "../../src/sources/recording.ts";

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
  return base85(gzipSync(Buffer.concat([size, index, numbers, json, ...signed])));
}

/** As Python's `base64.b85encode` does, with other letters for `&<>`. */
function base85(bytes: Uint8Array): string {
  const letters =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%:()*+-;,=.?@^_`{|}~";
  const short = (4 - (bytes.length % 4)) % 4;
  const padded = Buffer.concat([bytes, new Uint8Array(short)]);
  let text = "";
  for (let at = 0; at < padded.length; at += 4) {
    const value = padded.readUInt32BE(at);
    for (let power = 4; power >= 0; power--) text += letters[Math.floor(value / 85 ** power) % 85];
  }
  return text.slice(0, text.length - short);
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
