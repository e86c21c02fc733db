import { describe, expect, it } from "vitest";
import { asCsv } from "../../src/draw/download.ts";

describe("CSV", () => {
  it("quotes what would break a row, and what a spreadsheet would run", () => {
    const rows = [
      ["answer", "effect"],
      ['say "hi", you\n', 0.5],
      ["=cmd()", Number.NaN],
      ["−ok", -2],
    ];
    expect(asCsv(rows)).toBe('answer,effect\r\n"say ""hi"", you\n",0.5\r\n\'=cmd(),\r\n−ok,-2\r\n');
  });
});
