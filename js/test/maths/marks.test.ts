import { describe, expect, it } from "vitest";
import { marksOf, remark, segmentsUnder } from "../../src/maths/marks.ts";
import { manifest } from "../fixture.ts";

describe("marks", () => {
  const tokens = manifest().prompt_tokens;
  const own = tokens.map((one) => one.segment);

  it("are the trace's own spans where nothing is marked", () => {
    expect(segmentsUnder(tokens, null)).toEqual(own);
    expect(segmentsUnder(tokens, marksOf(own))).toEqual(own);
    expect(marksOf(own)).toEqual([
      [2, 4, "instruction"],
      [4, 5, "context"],
    ]);
  });

  it("never touch special and template tokens", () => {
    expect(segmentsUnder(tokens, [[0, 6, "context"]])).toEqual([
      "special",
      "template",
      "context",
      "context",
      "context",
      "template",
    ]);
    expect(segmentsUnder(tokens, [])).toEqual([
      "special",
      "template",
      "other",
      "other",
      "other",
      "template",
    ]);
  });

  it("can be added, moved and taken away", () => {
    const context = remark(tokens, null, 3, 3, "context");
    expect(context).toEqual([
      [2, 3, "instruction"],
      [3, 5, "context"],
    ]);
    expect(remark(tokens, context, 0, 5, "other")).toEqual([]);
    expect(remark(tokens, [], 5, 5, "instruction")).toEqual([]);
  });
});
