// Random numbers as NumPy's default generator draws them.

import type { Kernel } from "./kernel.ts";

export interface Draws {
  /** A whole number from 0 up to `most`. */
  upTo(most: number): number;
  /** So many of the numbers from 0 below `count`, none twice. */
  choice(count: number, size: number): number[];
}

/** Begin anew; `Kernel.move` draws its signs from here on, too. */
export function seeded(kernel: Kernel, ...seed: number[]): Draws {
  const words = sequence(seed).map((word) => BigInt(word));
  const wide = (i: number) => words[2 * i]! | (words[2 * i + 1]! << 32n);
  kernel.seed(wide(0), wide(1), wide(2), wide(3));
  let upperHalf: number | null = null;

  const next = (): number => {
    if (upperHalf !== null) {
      const upper = upperHalf;
      upperHalf = null;
      return upper;
    }
    const drawn = BigInt.asUintN(64, kernel.draw());
    upperHalf = Number(drawn >> 32n);
    return Number(drawn & 0xffffffffn);
  };

  /** By Lemire's way: the upper half of a product. */
  const upTo = (most: number): number => {
    if (most === 0) return 0;
    const range = BigInt(most + 1);
    const least = (2n ** 32n - range) % range;
    for (;;) {
      const product = BigInt(next()) * range;
      if ((product & 0xffffffffn) >= least) return Number(product >> 32n);
    }
  };

  return {
    upTo,
    choice(count, size) {
      // By Floyd's way, then in random order.
      const drawnPlaces = new Set<number>();
      for (let last = count - size; last < count; last++) {
        const drawn = upTo(last);
        drawnPlaces.add(drawnPlaces.has(drawn) ? last : drawn);
      }
      const chosen = [...drawnPlaces];
      for (let i = size - 1; i > 0; i--) {
        const other = upTo(i);
        [chosen[i], chosen[other]] = [chosen[other]!, chosen[i]!];
      }
      return chosen;
    },
  };
}

const POOL = 4;

/** Eight words from a seed of whole numbers below 2 ** 32 (NumPy's `SeedSequence`). */
function sequence(seed: readonly number[]): number[] {
  const hash = (first: number, factor: number) => {
    let constant = first;
    return (value: number) => {
      let mixed = (value ^ constant) >>> 0;
      constant = Math.imul(constant, factor) >>> 0;
      mixed = Math.imul(mixed, constant) >>> 0;
      return (mixed ^ (mixed >>> 16)) >>> 0;
    };
  };
  const mix = (first: number, second: number) => {
    const mixed = (Math.imul(0xca01f9dd, first) - Math.imul(0x4973f715, second)) >>> 0;
    return (mixed ^ (mixed >>> 16)) >>> 0;
  };
  const take = hash(0x43b0d7e5, 0x931e8875);
  const pool = Array.from({ length: POOL }, (_, i) => take(seed[i] ?? 0));
  for (let from = 0; from < POOL; from++) {
    for (let to = 0; to < POOL; to++) {
      if (from !== to) pool[to] = mix(pool[to]!, take(pool[from]!));
    }
  }
  const give = hash(0x8b51f9dd, 0x58f38ded);
  return Array.from({ length: 8 }, (_, i) => give(pool[i % POOL]!));
}
