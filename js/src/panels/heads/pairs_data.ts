// Word pairs of heads: what one head gained, kept and lost, and which heads hold a word.

import { type Key, keys, type WordHeads, type WordPairRows } from "../../contract/contract.ts";
import { type Got, type Load, type Need, quiet, ready } from "../../core/load.ts";
import { type Fate, OPTIONS } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { headAt } from "./measures.ts";

export const FATES: readonly Fate[] = OPTIONS.heads.fates;

export interface Pair {
  word: string;
  partner: string;
  base: number;
  tuned: number;
  fate: Fate;
}

/** Whether all word pairs can be asked for without starting a long computation. */
export function pairsComputed(state: State): boolean {
  return !state.live || state.has(keys.wordPairInfo());
}

/** Pairs of a head: gained if only tuned holds them, lost if only base does. */
export function pairsOf({ rows }: WordPairRows): Pair[] {
  return rows.map(([word, partner, base, tuned]) => ({
    word,
    partner,
    base,
    tuned,
    fate: base === 0 ? "gained" : tuned === 0 ? "lost" : "kept",
  }));
}

/** Pairs with a wanted fate that hold the word, in part or whole; all of them for no word. */
export function filtered(pairs: Pair[], fates: readonly Fate[], word: string): Pair[] {
  const wanted = word.trim().toLowerCase();
  return pairs.filter(
    ({ word, partner, fate }) =>
      fates.includes(fate) &&
      (word.toLowerCase().includes(wanted) || partner.toLowerCase().includes(wanted)),
  );
}

/** Blocks that say which heads hold a word: the search, or the recorded pairs where it fails. */
export function searchNeeds(state: State, got: Got, word: string): Need[] {
  const search = keys.wordPairFind(word);
  const failed = got(search).state === "failed";
  return quiet(search, ...(failed ? recordedPairs(state).map(({ key }) => key) : []));
}

/** Heads that hold a word, most gained first. */
export function headsWith(state: State, got: Got, word: string): Load<WordHeads> {
  const search = got(keys.wordPairFind(word));
  const recorded = search.value ? [] : recordedPairs(state);
  if (recorded.length === 0) return search;
  const heads = recorded.map(({ layer, head, key }): WordHeads[number] => {
    const rows = got(key).value?.rows.filter((pair) => pair[0] === word || pair[1] === word) ?? [];
    const held = (side: 2 | 3) => rows.filter((pair) => pair[side] > 0).length;
    return [layer, head, held(2), held(3)];
  });
  const holding = heads.filter(([, , base, tuned]) => base > 0 || tuned > 0);
  return ready(holding.sort((a, b) => b[3] - b[2] - (a[3] - a[2])));
}

/** Heads of a recording whose word pairs are in it. */
function recordedPairs(state: State): { layer: number; head: number; key: Key<WordPairRows> }[] {
  if (state.live) return [];
  const { layers, heads } = state.manifest.pair;
  return Array.from({ length: layers * heads }, (_, i) => {
    const { layer, head } = headAt(i, heads);
    return { layer, head, key: keys.wordPairs(layer, head) };
  }).filter(({ key }) => state.has(key));
}
