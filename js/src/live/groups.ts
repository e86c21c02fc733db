// Groups of prompt tokens: words, sentences, segments.

import { keys, type Token } from "../contract/contract.ts";
import { beginsBlank, endsBlank, stripped, withoutTrailing } from "./blanks.ts";
import { provides } from "./provide.ts";

const CLOSING = /["'”’)\]»]+$/u;
const ENDED = /[.!?:。！？：]$/u;

/** Positions that belong together, as `twinlens.traces.grouping` has them. */
export function groups(tokens: readonly Token[], unit: string): number[][] {
  if (unit === "token") return tokens.map((_, i) => [i]);
  if (unit === "segment") {
    const names = [...new Set(tokens.map(({ segment }) => segment))];
    return names.map((name) => tokens.flatMap(({ segment }, i) => (segment === name ? [i] : [])));
  }
  const begins = unit === "word" ? beginsWord : beginsSentence;
  const made: number[][] = [];
  for (const [i, token] of tokens.entries()) {
    const before = tokens[i - 1] ?? token;
    const apart = before.segment !== token.segment || token.segment === "special";
    if (i === 0 || apart || begins(before.text, token.text)) made.push([]);
    made.at(-1)!.push(i);
  }
  return made;
}

function beginsWord(before: string, text: string): boolean {
  return endsBlank(before) || beginsBlank(text);
}

function beginsSentence(before: string, text: string): boolean {
  // White space at a line's end stays with its line.
  if (before.includes("\n") && stripped(text)) return true;
  const ended = ENDED.test(withoutTrailing(before).replace(CLOSING, ""));
  return ended && stripped(text) !== "" && beginsWord(before, text);
}

export const GROUPS = [
  provides(keys.groups, (subject, grouping) => groups(subject.manifest.prompt_tokens, grouping)),
];
