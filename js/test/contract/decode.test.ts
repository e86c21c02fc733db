// @vitest-environment node
import { describe, expect, it } from "vitest";
import { decode, halfToNumber, type Tensor } from "../../src/contract/decode.ts";

const bytes = (array: ArrayBufferView) =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** The same bytes in the middle of a larger buffer, at an odd offset. */
function shifted(array: ArrayBufferView): DataView {
  const larger = new Uint8Array(array.byteLength + 7);
  larger.set(bytes(array), 3);
  return new DataView(larger.buffer, 3, array.byteLength);
}

describe("decode", () => {
  it("reads float32 and int32 at any byte offset", () => {
    const header = { dtype: "float32", shape: [2, 2], packing: "dense", scale: 1 } as const;
    const block = decode(
      { ...header, shape: [2, 2] },
      shifted(Float32Array.of(1, -2.5, 3, 0.1)),
    ) as Tensor;
    expect([...block.data]).toEqual([1, -2.5, 3, Math.fround(0.1)]);
    const whole = decode({ dtype: "int32", shape: [2] }, shifted(Int32Array.of(7, -9))) as Tensor;
    expect([...whole.data]).toEqual([7, -9]);
  });

  it("reads float16, with subnormal numbers and infinities", () => {
    const bits = Uint16Array.of(0x3c00, 0xc000, 0x3555, 0x0001, 0x7c00, 0x8000);
    const { data } = decode({ dtype: "float16", shape: [6] }, shifted(bits)) as Tensor;
    expect(data[0]).toBe(1);
    expect(data[1]).toBe(-2);
    expect(data[2]).toBeCloseTo(1 / 3, 3);
    expect(data[3]).toBe(2 ** -24);
    expect(data[4]).toBe(Number.POSITIVE_INFINITY);
    expect(Object.is(data[5], -0)).toBe(true);
    expect(halfToNumber(0x7e00)).toBeNaN();
  });

  it("reads 8 bits as scale * (u / 4 + 3 / 4 * u ** 2)", () => {
    const header = { dtype: "uint8", shape: [3], packing: "dense", scale: 0.5 } as const;
    const { data } = decode({ ...header, shape: [3] }, Uint8Array.of(0, 51, 255)) as Tensor;
    expect(data[0]).toBe(0);
    expect(data[1]).toBeCloseTo(0.5 * (0.2 / 4 + (3 / 4) * 0.04), 6);
    expect(data[2]).toBe(0.5);
    const signed = decode(
      { dtype: "int8", shape: [3], packing: "dense", scale: 2 },
      Int8Array.of(-127, 0, 127),
    ) as Tensor;
    expect([...signed.data]).toEqual([-2, 0, 2]);
  });

  it("unpacks lower triangles", () => {
    const header = { dtype: "float32", packing: "causal", scale: 1 } as const;
    const flat = Float32Array.of(1, 2, 3, 4, 5, 6);
    const { data } = decode({ ...header, shape: [3, 3] }, flat) as Tensor;
    expect([...data]).toEqual([1, 0, 0, 2, 3, 0, 4, 5, 6]);
    const two = decode({ ...header, shape: [2, 2, 2] }, flat) as Tensor;
    expect([...two.data]).toEqual([1, 0, 2, 3, 4, 0, 5, 6]);
  });

  it("reads JSON and text as UTF-8", () => {
    const encode = (text: string) => shifted(new TextEncoder().encode(text));
    expect(decode({ dtype: "json", shape: [] }, encode('[["שלום", 1]]'))).toEqual([["שלום", 1]]);
    expect(decode({ dtype: "text", shape: [] }, encode("é"))).toBe("é");
    const words = encode('[{"a":{"words":["x","y"],"steps":[-3578,3573]},"words":["z"],"b":null}]');
    expect(decode({ dtype: "json", shape: [] }, words)).toEqual([
      {
        a: [
          ["x", 0.1789],
          ["y", -0.0003],
        ],
        words: ["z"],
        b: null,
      },
    ]);
  });

  it("refuses a block of another size than it states", () => {
    const header = { dtype: "float32", shape: [3], packing: "dense" } as const;
    expect(() => decode({ ...header, shape: [3] }, Float32Array.of(1, 2))).toThrow(/shape 3/);
  });
});
