import { expect, it } from "vitest";
import { drawCells } from "../../src/draw/heatmap.ts";
import { painterOf, VectorDrawing } from "../../src/draw/painted.ts";

it("draws a grid of cells as rectangles: filled, ringed where negative, hatched where estimated", () => {
  const canvas = document.createElement("canvas");
  drawCells(canvas, {
    rows: 1,
    columns: 3,
    values: [1, -0.5, Number.NaN],
    max: 1,
    width: 10,
    height: 10,
    gap: 2,
    colour: (share) => [Math.round(Math.abs(share) * 100), 0, 0],
    absent: [9, 9, 9],
    hatched: (i) => i === 0,
    dotted: () => false,
    ink: "#000",
  });
  const drawing = new VectorDrawing();
  painterOf(canvas)!(drawing);
  const rects = drawing.parts.filter((part) => part.startsWith("<rect"));
  const fills = rects.map((part) => /x="([^"]*)".*fill="([^"]*)"/.exec(part)!.slice(1));
  expect(fills).toEqual([
    ["0", "rgb(100 0 0)"],
    ["10", "rgb(50 0 0)"],
    ["20", "rgb(9 9 9)"],
    ["12.24", "rgb(0 0 0)"],
  ]);
  const hatching = drawing.parts.find((part) => part.startsWith("<path"))!;
  const ends = [...hatching.matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [
    Number(x),
    Number(y),
  ]);
  expect(ends).toHaveLength(6);
  // From edge to edge of the cell, never beyond.
  for (const [x, y] of ends) expect([0, 8].includes(x!) || [0, 8].includes(y!)).toBe(true);
});
