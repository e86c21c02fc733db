// How far the update moves base's predictions, and how far it would with its signs drawn anew.

import { type ChangedBlock, keys, type Null } from "../contract/contract.ts";
import { pValue } from "../maths/chance.ts";
import { seeded } from "./draws.ts";
import { type Model, roomFor, shapesOf } from "./model.ts";
import { divergences, logprobs } from "./predictions.ts";
import { provides, type Work } from "./provide.ts";
import type { Subject } from "./subject.ts";

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
