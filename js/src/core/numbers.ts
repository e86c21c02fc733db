// Small helpers over numeric arrays.

import { type BySide, SIDES, type Side } from "../protocol.ts";

export type Numbers = ArrayLike<number>;

/** Largest absolute value; 0 of nothing. */
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

/** tuned - base, as far as both go. */
export function difference({ base, tuned }: BySide<Numbers>): Float64Array {
  const length = Math.min(base.length, tuned.length);
  return Float64Array.from({ length }, (_, i) => tuned[i]! - base[i]!);
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

/** The same for both models, at once. */
export async function bySide<T>(make: (side: Side) => Promise<T>): Promise<BySide<T>> {
  const [base, tuned] = await Promise.all(SIDES.map(make));
  return { base: base as T, tuned: tuned as T };
}
