// The smallest set of parts that carries the difference, and each part alone.

import { type Carried, keys, type Part, type PartOfSet, type Side } from "../contract/contract.ts";
import type { Tensor } from "../contract/decode.ts";
import { readingPosition } from "../contract/units.ts";
import { valueVector } from "./concepts.ts";
import { seeded } from "./draws.ts";
import { Exchange, type Left, type Place } from "./exchange.ts";
import { integratedGates } from "./path.ts";
import { provides, type Work } from "./provide.ts";
import { other, type Subject } from "./subject.ts";

/** Share of KL that the set shall carry. */
const GOAL = 0.8;
/** Parts tried at each place, places filled by trying; of small models, and of others. */
const TRIED = [8, 4] as const;
const PLACES = [24, 10] as const;
const LEAVING = [24, 3] as const;
/** Draws of as many random parts. */
const DRAWS = 10;
/** Below this the models predict the same. */
const NOISE = 1e-3;
/** Shares that differ by less are equal but for rounding. */
const EQUAL = 1e-3;
const LABEL = "which parts carry the difference";

type Answer = number | "answer";

/** Exchanges of one text, each measured once. */
class Measured {
  readonly exchange: Exchange;
  readonly #known = new Map<string, Left>();
  readonly #weights = new Map<string, Left>();

  constructor(subject: Subject) {
    this.exchange = new Exchange(subject, "tuned");
  }

  *measure(sets: readonly (readonly number[])[]): Work<void> {
    for (const places of sets) {
      const key = keyOf(places);
      if (this.#known.has(key)) continue;
      this.#known.set(key, this.exchange.pass({ places }));
      yield { done: 0, total: 0, label: LABEL };
    }
  }

  /** With the weights of each block of base. */
  *ofWeights(column: number | null): Work<Part[]> {
    const { layout } = this.exchange;
    const parts: Part[] = [];
    for (const [place] of layout.blocks()) {
      const name = `${place.kind}/${place.layer}`;
      const model = this.exchange.withWeights(place);
      const left =
        this.#weights.get(name) ?? this.exchange.pass({ model, first: layout.layerOf(place) });
      this.#weights.set(name, left);
      parts.push(partOf(place, this.#lost(left, column)));
      yield { done: 0, total: 0, label: LABEL };
    }
    return parts;
  }

  /** Nats of the shift and share of KL that some places take away together. */
  of(places: readonly number[], column: number | null): [nats: number, share: number] {
    return this.#lost(this.#known.get(keyOf(places))!, column);
  }

  kl(column: number | null): number {
    return picked(this.#known.get("")!.kl, column);
  }

  #lost(left: Left, column: number | null): [nats: number, share: number] {
    return lost(this.#known.get("")!, left, column);
  }

  /** Share of the difference: of KL, or of the shift where that is smaller and a measure. */
  reached(places: readonly number[], column: number | null): number {
    const { count } = this.exchange.layout;
    const [nats, share] = this.of(places, column);
    const [shift] = this.of(upTo(count), column);
    return Math.abs(shift) < this.kl(column) / 2 ? share : Math.min(share, nats / shift);
  }
}

const keyOf = (places: readonly number[]) => [...places].sort((a, b) => a - b).join();
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

function picked(values: Float64Array, column: number | null): number {
  return column === null ? values.reduce((sum, value) => sum + value, 0) : values[column]!;
}

/** Nats of the shift and share of KL that go with what is exchanged. */
function lost(whole: Left, left: Left, column: number | null): [nats: number, share: number] {
  const nats = whole.nats.map((value, i) => value - left.nats[i]!);
  const kl = picked(whole.kl, column);
  return [picked(nats, column), (kl - picked(left.kl, column)) / Math.max(kl, NOISE)];
}

function partOf({ kind, layer, head }: Place, [nats, share]: [number, number]): Part {
  return { kind, layer, head, nats, share };
}

/** Places of values, the largest first; of those that rounding cannot tell apart the earliest. */
function ranking(values: readonly number[]): number[] {
  const left = upTo(values.length);
  const order: number[] = [];
  while (left.length) {
    const least = Math.max(...left.map((place) => values[place]!)) - EQUAL;
    const next = left.findIndex((place) => values[place]! >= least);
    order.push(...left.splice(next, 1));
  }
  return order;
}

function* carried(subject: Subject, token: Answer): Work<Carried> {
  const column = token === "answer" ? null : token;
  const measured = subject.once("carried", () => new Measured(subject));
  const { layout } = measured.exchange;
  const blocks = layout.blocks();
  yield* measured.measure([[], upTo(layout.count), ...blocks.map(([, places]) => places)]);
  const [shift] = measured.of(upTo(layout.count), column);
  const kl = measured.kl(column);
  const alone = blocks.map(([place, places]) => partOf(place, measured.of(places, column)));
  const weights = yield* measured.ofWeights(column);
  let chosen: number[] = [];
  let random: number[] = [];
  if (kl > NOISE) {
    const estimate = yield* integratedGates(measured.exchange, column);
    chosen = yield* smallest(measured, estimate, column);
    const draws = seeded(subject.pair.heap.kernel, 0);
    const others = Array.from({ length: DRAWS }, () => draws.choice(layout.count, chosen.length));
    yield* measured.measure(others);
    random = others.map((places) => measured.reached(places, column));
  }
  return {
    shift,
    kl,
    goal: GOAL,
    count: layout.count,
    blocks: ranking(alone.map(({ share }) => share)).map((i) => alone[i]!),
    weights: ranking(weights.map(({ share }) => Math.abs(share))).map((i) => weights[i]!),
    parts: yield* inOrder(measured, chosen, column),
    random,
  };
}

/** A set that reaches the goal, the part that adds most first. */
function* smallest(
  measured: Measured,
  estimate: Float64Array,
  column: number | null,
): Work<number[]> {
  const { small } = measured.exchange.runner.model.sizes;
  const [tries, most, leaving] = [TRIED, PLACES, LEAVING].map(
    (choice) => choice[small ? 0 : 1]!,
  ) as [number, number, number];
  const order = upTo(estimate.length).sort((a, b) => estimate[b]! - estimate[a]! || a - b);
  let chosen: number[] = [];
  let reached = 0;
  while (reached < GOAL && chosen.length < Math.min(most, order.length)) {
    const tried = order.filter((place) => !chosen.includes(place)).slice(0, tries);
    const sets = tried.map((place) => [...chosen, place]);
    yield* measured.measure(sets);
    const gains = sets.map((places) => measured.reached(places, column));
    const [best] = ranking(gains) as [number];
    reached = gains[best]!;
    chosen = sets[best]!;
    yield { done: Math.round(100 * Math.max(reached, 0)), total: 100, label: LABEL };
  }
  let rest = order.filter((place) => !chosen.includes(place));
  let step = chosen.length;
  while (reached < GOAL && rest.length) {
    chosen = [...chosen, ...rest.slice(0, step)];
    rest = rest.slice(step);
    step *= 2;
    yield* measured.measure([chosen]);
    reached = measured.reached(chosen, column);
  }
  return yield* pruned(measured, chosen, column, leaving);
}

/** Without the parts that later ones have made needless. */
function* pruned(
  measured: Measured,
  all: number[],
  column: number | null,
  leaving: number,
): Work<number[]> {
  let chosen = all;
  for (let left = Math.min(leaving, all.length - 1); left > 0; left--) {
    const shorter = chosen.map((place) => chosen.filter((dropped) => dropped !== place));
    yield* measured.measure(shorter);
    const shares = shorter.map((places) => measured.reached(places, column));
    const [best] = ranking(shares) as [number];
    if (shares[best]! < GOAL) break;
    chosen = shorter[best]!;
  }
  return chosen;
}

function* inOrder(
  measured: Measured,
  chosen: readonly number[],
  column: number | null,
): Work<PartOfSet[]> {
  const prefixes = chosen.map((_, i) => chosen.slice(0, i + 1));
  yield* measured.measure([...prefixes, ...chosen.map((place) => [place])]);
  return chosen.map((place, i) => {
    const part = partOf(measured.exchange.layout.part(place), measured.of([place], column));
    const [together, share] = measured.of(prefixes[i]!, column);
    return { ...part, together, together_share: share };
  });
}

type Where = number | "everywhere";

function exchangeAt(subject: Subject, side: Side, token: Where): Exchange {
  return subject.once(`exchange/${side}/${token}`, () => {
    const at = token === "everywhere" ? null : readingPosition(token, subject.promptLength);
    return new Exchange(subject, side, at);
  });
}

/** Nats of the shift and share of KL that go with each of some parts, [..., 2]. */
function gone(side: Side, token: Answer, whole: Left, left: readonly Left[]): Float32Array {
  const column = token === "answer" ? null : token;
  return Float32Array.from(
    left.flatMap((exchanged) => {
      const [nats, share] = lost(whole, exchanged, column);
      // What base gains by a part of tuned is what tuned would lose without it.
      return [side === "tuned" ? nats : -nats, share];
    }),
  );
}

/** Every layer's output, attention and feed-forward block; the embedding is an output only. */
function* eachLayer(subject: Subject, side: Side, where: Where, token: Answer): Work<Tensor> {
  const name = `exchanged/${side}/${where}`;
  const known = subject.once<Left[]>(name, () => []);
  const exchange = exchangeAt(subject, side, where);
  const { layout, own, theirs } = exchange;
  const { hidden } = exchange.runner.model.sizes;
  const whole = subject.once(`${name}/whole`, () => exchange.pass({ first: layout.layers }));
  const rows = layout.layers + 1;
  while (known.length < 3 * rows) {
    const [layer, part] = [Math.floor(known.length / 3), known.length % 3];
    if (part === 0) {
      // The output of a layer stands in front of the one behind it.
      const stream = own.residual[layer]!.slice();
      exchange.put(stream, theirs.residual[layer]!, hidden, 0);
      known.push(exchange.pass({ first: layer, stream }));
    } else if (layer === 0) known.push(whole);
    else {
      const heads = upTo(layout.heads).map((head) => layout.head(layer - 1, head));
      const places = part === 1 ? heads : [layout.feedForward(layer - 1)];
      known.push(exchange.pass({ places }));
    }
    yield { done: known.length, total: 3 * rows, label: "each layer exchanged" };
  }
  return { shape: [rows, 3, 2], data: gone(side, token, whole, known) };
}

function eachHead(
  subject: Subject,
  side: Side,
  where: Where,
  token: Answer,
  layer: number,
): Tensor {
  const exchange = exchangeAt(subject, side, where);
  const { layout } = exchange;
  const whole = exchange.pass({ first: layout.layers });
  const left = upTo(layout.heads).map((head) =>
    exchange.pass({ places: [layout.head(layer, head)] }),
  );
  return { shape: [layout.heads, 2], data: gone(side, token, whole, left) };
}

/** One neuron, its activation and its value vector. */
function oneNeuron(
  subject: Subject,
  side: Side,
  where: Where,
  token: Answer,
  layer: number,
  neuron: number,
): Tensor {
  const exchange = exchangeAt(subject, side, where);
  const { hidden, intermediate } = exchange.runner.model.sizes;
  const [own, theirs] = [exchange.own, exchange.theirs].map((subject) => subject.neurons[layer]!);
  const vector = valueVector(subject, side, layer, neuron);
  const theirVector = valueVector(subject, other(side), layer, neuron);
  const left = exchange.pass({
    first: layer,
    visit: (stage, at, values, first) => {
      if (stage !== "feedForward" || at !== layer) return;
      for (let t = 0; t * hidden < values.length; t++) {
        if (exchange.at !== null && exchange.at !== first + t) continue;
        const place = (first + t) * intermediate + neuron;
        for (let i = 0; i < hidden; i++) {
          values[t * hidden + i]! += theirs![place]! * theirVector[i]! - own![place]! * vector[i]!;
        }
      }
    },
  });
  const whole = exchange.pass({ first: exchange.layout.layers });
  return { shape: [1, 2], data: gone(side, token, whole, [left]) };
}

export const CARRIED = [
  provides(keys.carried, carried),
  provides(keys.exchanged, eachLayer),
  provides(keys.exchangedHeads, eachHead),
  provides(keys.exchangedNeuron, oneNeuron),
];
