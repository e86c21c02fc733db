// Who answers for a block: functions by the key that asks for it; what no page computes, and why.

import { type Key, keys } from "../contract/contract.ts";
import type { Value } from "../contract/decode.ts";
import type { Progress } from "../sources/source.ts";
import type { Subject } from "./subject.ts";

/** Something that takes longer: it says how far it is, and goes on when it is asked to. */
export type Work<T> = Generator<Progress, T>;
// biome-ignore lint/suspicious/noExplicitAny: the parameters of a key are as its row says
type Compute = (subject: Subject, ...parameters: any[]) => Value | Work<Value>;

export interface Provider {
  parts: readonly string[];
  compute: Compute;
}

/** A block is computed by this function, which is given the parameters of its key. */
export function provides<P extends unknown[], T>(
  key: (...parameters: P) => Key<T>,
  compute: (subject: Subject, ...parameters: P) => T | Work<T>,
): Provider {
  const anything = new Array<unknown>(key.length).fill("*") as P;
  return { parts: key(...anything).split("/"), compute: compute as Compute };
}

/** What is computed for a key; an error that says so where nothing is. */
export function ask(
  providers: readonly Provider[],
  subject: Subject,
  key: string,
): Value | Work<Value> {
  const asked = key.split("/");
  const fits = ({ parts }: Provider) =>
    parts.length === asked.length && parts.every((part, i) => part === "*" || part === asked[i]);
  const literal = ({ parts }: Provider) => parts.filter((part) => part !== "*").length;
  const [found] = providers.filter(fits).sort((a, b) => literal(b) - literal(a));
  if (!found) {
    throw new Error(
      lacks(key) || "This is not computed in a page: trace the prompt in a notebook.",
    );
  }
  const values = asked.filter((_, i) => found.parts[i] === "*");
  return found.compute(subject, ...values.map((value) => (/^\d+$/.test(value) ? +value : value)));
}

export function isWork(value: Value | Work<Value>): value is Work<Value> {
  return typeof value === "object" && Symbol.iterator in value && "next" in value;
}

const GRADIENTS = "gradients, which a page does not compute: trace the prompt in a notebook.";
const EXACT = "Exact effects are here.";

/** Kinds of blocks, by the first words of their keys, and the reason. */
const REASONS = new Map(
  [
    [keys.update(), `The update is taken apart with ${GRADIENTS}`],
    [keys.unitEffects(0, 0), `Which units mattered is found with ${GRADIENTS}`],
    [
      keys.exchangedNeurons("base", "everywhere", "answer", 0),
      `Neurons are ranked by ${GRADIENTS}`,
    ],
    [keys.headEffect("base", "answer"), `Estimates need ${GRADIENTS} ${EXACT}`],
    [keys.neuronEffect("base", "answer"), `Estimates need ${GRADIENTS} ${EXACT}`],
  ].map(([key, reason]) => [kindOf(key!), reason!]),
);

function kindOf(key: string): string {
  return key
    .split("/")
    .slice(0, 2)
    .join("/")
    .replace(/\/(base|tuned|answer|\d+)$/, "");
}

/** Why a block cannot be computed in a page; empty where it can. */
export function lacks(key: string): string {
  return REASONS.get(kindOf(key)) ?? "";
}
