// Random numbers as NumPy's default generator draws them; how far the update moves base's predictions,
// and how far it would with its signs drawn anew.

import { type ChangedBlock, keys, type Null } from "../contract/contract.ts";
import { pValue } from "../maths/chance.ts";
import type { Kernel } from "./kernel.ts";
import { type Model, roomFor, shapesOf } from "./model.ts";
import { divergences, logprobs } from "./predictions.ts";
import { provides, type Work } from "./provide.ts";
import type { Subject } from "./subject.ts";

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

/** Draws of the signs, of small models and of others, and how many times as many at most. */
const [DRAWS, FEW_DRAWS, ROUNDS] = [19, 9, 3];
/** The chance is told apart from the one that is asked for outside of these. */
const UNSURE = [1e-6, 1e-2] as const;
/** KL of a draw per token up to which a model is only moved, and how often the update is halved. */
const [MOVED, HALVINGS] = [2e-3, 8];
const LABEL = "the update with its signs drawn anew";

function* chance(subject: Subject): Work<Null> {
  const { heap, models, draws: names } = subject.pair;
  const { base, tuned } = models;
  const { sizes } = base;
  const changed = subject.once("changed", () => roomFor(heap, sizes));
  const before = predicted(subject, base).slice();
  const moved = (draw: number | null, fraction: number) => {
    for (const [i, { rows, columns, panel }] of shapesOf(sizes).entries()) {
      if (draw !== null) seeded(heap.kernel, draw + 1, names[i]!);
      heap.kernel.move(
        ...([base.places[i]!, tuned.places[i]!, changed.places[i]!] as const),
        ...([rows, columns, panel, fraction, draw !== null] as const),
      );
    }
    return divergences(predicted(subject, changed), before, sizes.vocabulary);
  };
  let fraction = 1;
  for (let i = 0; i < HALVINGS; i++) {
    // By a draw that is not looked at otherwise.
    const kl = moved(-1, fraction);
    if (kl.reduce((sum, value) => sum + value, 0) / kl.length <= MOVED) break;
    fraction /= 2;
    yield { done: i, total: HALVINGS, label: LABEL };
  }
  const update = moved(null, fraction);
  const scrambled: number[][] = [];
  const count = sizes.small ? DRAWS : FEW_DRAWS;
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < count; i++) {
      scrambled.push(moved(scrambled.length, fraction));
      yield { done: i + 1, total: count, label: LABEL };
    }
    const p = pValue(update, scrambled);
    if (!(UNSURE[0] < p && p < UNSURE[1])) break;
  }
  const exact = predicted(subject, tuned).slice();
  rounded(subject, tuned, changed);
  const rounding = divergences(predicted(subject, changed), exact, sizes.vocabulary);
  return {
    fraction,
    update,
    scrambled,
    rounding,
    changed: subject.pair.known("changed") as unknown as ChangedBlock[],
  };
}

/** Log-probabilities where the answer is predicted, [M, vocabulary]; good until the next. */
function predicted(subject: Subject, model: Model): Float64Array {
  const { vocabulary } = model.sizes;
  const [n, ids] = [subject.promptLength, subject.ids.tuned];
  const runner = subject.runner("base");
  const cache = subject.once("null/cache", () => runner.cache());
  const count = (ids.length - n) * vocabulary;
  const rows = subject.once("null/rows", () => new Float32Array(count));
  const made = subject.once("null/predicted", () => new Float64Array(count));
  runner.run({ ids: ids.slice(0, -1), cache, model }, n - 1, ids.length - 1, (at, scores) =>
    rows.set(scores, (at - n + 1) * vocabulary),
  );
  return logprobs(rows, vocabulary, made);
}

/** Weights of a model in bfloat16: the upper half of each number, rounded to the nearest. */
function rounded(subject: Subject, from: Model, to: Model): void {
  const { buffer } = subject.pair.heap.kernel.memory;
  for (const [i, { rows, columns, panel }] of shapesOf(from.sizes).entries()) {
    const count = Math.ceil(rows / panel) * panel * columns;
    const own = new Uint32Array(buffer, from.places[i]!, count);
    const made = new Uint32Array(buffer, to.places[i]!, count);
    for (let j = 0; j < count; j++) {
      made[j] = (own[j]! + 0x7fff + ((own[j]! >>> 16) & 1)) & 0xffff0000;
    }
  }
}

export const NULL = [provides(keys.null, chance)];
