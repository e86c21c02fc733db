// Small helpers over numeric arrays.

import { type BySide, SIDES, type Side } from "../contract/contract.ts";
import type { Tensor } from "../contract/decode.ts";

export type Numbers = ArrayLike<number>;

/** Largest absolute value; 0 of nothing. NaN is like nothing. */
export function largest(...lists: (Numbers | null | undefined)[]): number {
  let max = 0;
  for (const list of lists) {
    for (let i = 0; i < (list?.length ?? 0); i++) {
      const size = Math.abs(list![i]!);
      if (size > max) max = size;
    }
  }
  return max;
}

/** Whether both lists hold the same numbers; NaN is like nothing. */
export function equal(first: Numbers, second: Numbers): boolean {
  let i = first.length === second.length ? first.length : -1;
  while (i > 0 && first[i - 1] === second[i - 1]) i--;
  return i === 0;
}

/** tuned - base, as far as both go. */
export function difference({ base, tuned }: BySide<Numbers>): Float64Array {
  const third = new Float64Array(Math.min(base.length, tuned.length));
  for (let i = 0; i < third.length; i++) third[i] = tuned[i]! - base[i]!;
  return third;
}

/** Mean over the rows `from .. to - 1` of a matrix with the given width. */
export function meanRows(data: Numbers, width: number, from: number, to: number): Float64Array {
  const mean = new Float64Array(width);
  const rows = Math.max(to - from, 0);
  for (let i = from; i < to; i++) {
    for (let j = 0; j < width; j++) mean[j]! += data[i * width + j]! / rows;
  }
  return mean;
}

/** One entry along the first axis. */
export function row(tensor: Tensor, index: number): Float32Array | Int32Array {
  const width = tensor.data.length / (tensor.shape[0] || 1);
  return tensor.data.subarray(index * width, (index + 1) * width);
}

/** Columns of equal length as rows under their names, for a file. */
export function inRows(columns: Record<string, Numbers>): (string | number)[][] {
  const [first = []] = Object.values(columns);
  const rows = Array.from(first, (_, i) => Object.values(columns).map((column) => column[i]!));
  return [Object.keys(columns), ...rows];
}

/** The same for both models. */
export function eachSide<T>(make: (side: Side) => T): BySide<T> {
  return { base: make("base"), tuned: make("tuned") };
}

/** The same for both models, at once. */
export async function bySide<T>(make: (side: Side) => Promise<T>): Promise<BySide<T>> {
  const [base, tuned] = await Promise.all(SIDES.map(make));
  return { base: base as T, tuned: tuned as T };
}

/** Spearman's rank correlation of the pairs in which both numbers are finite; NaN of too few. */
export function spearman(first: Numbers, second: Numbers): { rho: number; n: number } {
  const at = Array.from({ length: first.length }, (_, i) => i).filter(
    (i) => Number.isFinite(first[i]) && Number.isFinite(second[i]),
  );
  const [x, y] = [first, second].map((list) => ranks(at.map((i) => list[i]!))) as [
    number[],
    number[],
  ];
  const n = at.length;
  const middle = (n - 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    const [a, b] = [x[i]! - middle, y[i]! - middle];
    xy += a * b;
    xx += a * a;
    yy += b * b;
  }
  return { rho: n < 3 ? Number.NaN : xy / Math.sqrt(xx * yy), n };
}

/** Ranks from 0; equal numbers share the mean of theirs. */
function ranks(values: number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!);
  const ranked = new Array<number>(values.length);
  for (let from = 0; from < order.length; ) {
    let to = from;
    while (to < order.length && values[order[to]!] === values[order[from]!]) to++;
    for (let i = from; i < to; i++) ranked[order[i]!] = (from + to - 1) / 2;
    from = to;
  }
  return ranked;
}
