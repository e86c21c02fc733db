// Greedy answers.

import type { Answered } from "./messages.ts";
import type { Runner } from "./pass.ts";
import type { Work } from "./provide.ts";

/**
 * Continue a prompt with the likeliest token each time; `told` of each, the one that ends it too.
 *
 * Tokens from `known` on are padding of the weights, and never chosen.
 */
export function* greedy(
  runner: Runner,
  prompt: readonly number[],
  stop: readonly number[],
  limit: number,
  known: number,
  told: (token: number) => void = () => {},
): Work<Answered> {
  const cache = runner.cache();
  const ids = [...prompt];
  let from = 0;
  let stopped = false;
  while (!stopped && ids.length - prompt.length < limit) {
    let token = 0;
    runner.run({ ids, from, cache }, ids.length - 1, ids.length, (_, scores) => {
      for (let id = 1; id < known; id++) if (scores[id]! > scores[token]!) token = id;
    });
    from = ids.length;
    ids.push(token);
    told(token);
    stopped = stop.includes(token);
    yield { done: ids.length - prompt.length, total: limit, label: "answer" };
  }
  return { ids: ids.slice(prompt.length), stopped };
}
