// Blocks as they come over the wire or lie in a page, as numbers, text or objects.

export interface Tensor {
  shape: number[];
  data: Float32Array | Int32Array;
}
export type Value = Tensor | string | object;

export interface Header {
  dtype: "float32" | "float16" | "int32" | "uint8" | "int8" | "json" | "text";
  shape: number[];
  packing?: "dense" | "causal";
  scale?: number;
}

/** Decode one block; every number comes back as float32 (int32 stays int32). */
export function decode(header: Header, buffer: ArrayBuffer | ArrayBufferView): Value {
  const bytes = ArrayBuffer.isView(buffer)
    ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new Uint8Array(buffer);
  if (header.dtype === "text" || header.dtype === "json") {
    const text = new TextDecoder().decode(bytes);
    return header.dtype === "json" ? JSON.parse(text, paired) : text;
  }
  const flat = numbers(header, bytes);
  const data = header.packing === "causal" ? unpackCausal(flat, header.shape) : flat;
  const expected = header.shape.reduce((product, n) => product * n, 1);
  if (data.length !== expected) {
    throw new Error(`a block of shape ${header.shape.join(" × ")} holds ${data.length} numbers`);
  }
  return { shape: header.shape, data };
}

function numbers(header: Header, bytes: Uint8Array): Float32Array | Int32Array {
  // A copy aligns the bytes: a message may start anywhere in its buffer.
  const aligned = bytes.slice().buffer;
  switch (header.dtype) {
    case "float32":
      return new Float32Array(aligned);
    case "int32":
      return new Int32Array(aligned);
    case "float16":
      return Float32Array.from(new Uint16Array(aligned), halfToNumber);
    case "uint8":
      return eightBits(bytes, 255, header.scale);
    case "int8":
      return eightBits(new Int8Array(aligned), 127, header.scale);
    default:
      throw new Error(`unknown block type ${header.dtype}`);
  }
}

/** Words and steps of scores as the list of both that they stand for, see `wire.py`. */
function paired(_: string, value: unknown): unknown {
  const { words, steps } = (value ?? {}) as { words?: string[]; steps?: number[] };
  if (!words || !Array.isArray(steps)) return value;
  let size = 0;
  return words.map((word, i) => {
    const step = steps[i]!;
    size -= step >> 1;
    return [word, (step & 1 ? -size : size) / 1e4];
  });
}

/** What 8 bits stand for, see `wire.py`: finer steps near zero. */
function eightBits(q: Uint8Array | Int8Array, steps: number, scale = 1): Float32Array {
  return Float32Array.from(q, (n) => {
    const u = n / steps;
    return scale * (u / 4 + (3 / 4) * u * Math.abs(u));
  });
}

/** Value of an IEEE half-precision number given by its 16 bits. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function unpackCausal(flat: Float32Array | Int32Array, shape: number[]): Float32Array {
  const side = shape.at(-1) ?? 0;
  const matrices = flat.length / ((side * (side + 1)) / 2) || 0;
  const dense = new Float32Array(matrices * side * side);
  let from = 0;
  for (let matrix = 0; matrix < matrices; matrix++) {
    for (let row = 0; row < side; row++) {
      const to = (matrix * side + row) * side;
      dense.set(flat.subarray(from, from + row + 1), to);
      from += row + 1;
    }
  }
  return dense;
}
