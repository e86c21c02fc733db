// The compiled kernel, and its memory.

import type * as compiled from "kernel";

/** Functions of `wasm/kernel.ts`, as its compiler declares them; pointers are bytes. */
export type Kernel = typeof compiled;

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
