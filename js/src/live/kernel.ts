// The compiled kernel, and its memory.

/** Functions of `wasm/kernel.ts`; pointers are bytes. */
export interface Kernel {
  memory: WebAssembly.Memory;
  matmul(x: number, weights: number, y: number, rows: number, inner: number, columns: number): void;
  add(x: number, y: number, count: number): void;
  rmsnorm(x: number, gain: number, y: number, rows: number, width: number, eps: number): void;
  silu(gate: number, up: number, count: number): void;
  rotate(
    x: number,
    cos: number,
    sin: number,
    first: number,
    rows: number,
    heads: number,
    size: number,
  ): void;
  keep(
    keys: number,
    values: number,
    keptKeys: number,
    keptValues: number,
    first: number,
    rows: number,
    heads: number,
    size: number,
    room: number,
  ): void;
  attention(
    queries: number,
    keys: number,
    values: number,
    hidden: number,
    weights: number,
    kept: boolean,
    out: number,
    first: number,
    rows: number,
    heads: number,
    shared: number,
    size: number,
    room: number,
    scale: number,
  ): void;
  logSumExp(row: number, count: number): number;
  seed(stateHigh: bigint, stateLow: bigint, sequenceHigh: bigint, sequenceLow: bigint): void;
  draw(): bigint;
  move(
    base: number,
    tuned: number,
    to: number,
    rows: number,
    columns: number,
    panel: number,
    fraction: number,
    signed: boolean,
  ): void;
}

const PAGE = 65_536;

/** Memory that grows; what was taken since a mark is given back together. */
export class Heap {
  readonly kernel: Kernel;
  #end = PAGE; // the module's own data lies in front

  constructor(bytes: BufferSource) {
    const module = new WebAssembly.Module(bytes);
    this.kernel = new WebAssembly.Instance(module, {}).exports as unknown as Kernel;
  }

  /** Room for so many numbers; what lies there is anything. */
  take(count: number): number {
    const at = this.#end;
    this.#end += (count * 4 + 63) & ~63;
    const { memory } = this.kernel;
    const missing = this.#end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    return at;
  }

  mark(): number {
    return this.#end;
  }

  release(mark: number): void {
    this.#end = mark;
  }

  /** Numbers at a place; good until something is taken. */
  view(at: number, count: number): Float32Array {
    return new Float32Array(this.kernel.memory.buffer, at, count);
  }
}
