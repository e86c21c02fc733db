// Spans marked anew over the prompt's tokens, as in widgets/twinlens/traces/marks.py.

import type { Mark, Segment, Token } from "../contract/contract.ts";

const FIXED: readonly string[] = ["special", "template"];

/** Segment of every prompt token under the marks; special and template tokens keep theirs. */
export function segmentsUnder(
  tokens: readonly Token[],
  marks: readonly Mark[] | null,
): readonly Segment[] {
  const own = tokens.map((token) => token.segment);
  if (marks === null) return own;
  const result = own.map((segment) => (FIXED.includes(segment) ? segment : "other"));
  for (const [start, end, name] of marks) {
    for (let i = start; i < Math.min(end, own.length); i++) {
      if (!FIXED.includes(own[i]!)) result[i] = name;
    }
  }
  return result;
}

/** Marks that give these segments, in order, neighbours of one kind as one. */
export function marksOf(segments: readonly Segment[]): Mark[] {
  const marks: Mark[] = [];
  segments.forEach((name, i) => {
    if (name !== "instruction" && name !== "context") return;
    const last = marks.at(-1);
    if (last && last[1] === i && last[2] === name) last[1] = i + 1;
    else marks.push([i, i + 1, name]);
  });
  return marks;
}

/** The marks with the tokens `from .. to` (both included) made something else. */
export function remark(
  tokens: readonly Token[],
  marks: readonly Mark[] | null,
  from: number,
  to: number,
  kind: Mark[2] | "other",
): Mark[] {
  const segments = segmentsUnder(tokens, marks).map((segment, i) =>
    i < from || i > to || FIXED.includes(segment) ? segment : kind,
  );
  return marksOf(segments);
}
