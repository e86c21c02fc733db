// Word pairs of heads: what one head gained, kept and lost, and which heads hold a word.

import type { WordHeads, WordPairRows } from "../../contract/contract.ts";
import { keys } from "../../contract/contract.ts";
import { attempt, type Load, ready } from "../../core/load.ts";
import type { Store } from "../../core/store.ts";
import type { View } from "../../shell/frame.ts";

export const FATES = ["gained", "kept", "lost"] as const;
export type Fate = (typeof FATES)[number];

export interface Pair {
  word: string;
  partner: string;
  base: number;
  tuned: number;
  fate: Fate;
}

/** Whether all word pairs can be asked for without starting a long computation. */
export function computed(store: Store): boolean {
  return !store.live || store.has(keys.wordPairInfo());
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
export function filtered(pairs: Pair[], fates: ReadonlySet<Fate>, word: string): Pair[] {
  const wanted = word.trim().toLowerCase();
  return pairs.filter(
    ({ word, partner, fate }) =>
      fates.has(fate) &&
      (word.toLowerCase().includes(wanted) || partner.toLowerCase().includes(wanted)),
  );
}

export async function loadPairs(
  view: View,
  layer: number,
  head: number,
): Promise<Load<WordPairRows>> {
  return attempt(view, view.block(keys.wordPairs(layer, head)));
}

/** Heads that hold a word, most gained first: asked for, or found in the pairs that are here. */
export async function findWord(view: View, word: string): Promise<Load<WordHeads>> {
  const found = await attempt(view, view.block(keys.wordPairFind(word)));
  if (found.value || view.store.live) return found;
  const { layers, heads } = view.store.manifest.pair;
  const rows: WordHeads = [];
  let known = 0;
  for (let layer = 0; layer < layers; layer++) {
    for (let head = 0; head < heads; head++) {
      if (!view.store.has(keys.wordPairs(layer, head))) continue;
      known++;
      const { value } = await loadPairs(view, layer, head);
      const [base, tuned] = counts(value, word);
      if (base > 0 || tuned > 0) rows.push([layer, head, base, tuned]);
    }
  }
  return known > 0 ? ready(rows.sort((a, b) => b[3] - b[2] - (a[3] - a[2]))) : found;
}

function counts(pairs: WordPairRows | undefined, word: string): [number, number] {
  const mine = (pairs?.rows ?? []).filter((row) => row[0] === word || row[1] === word);
  return [mine.filter((row) => row[2] > 0).length, mine.filter((row) => row[3] > 0).length];
}
