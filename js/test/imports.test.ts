// @vitest-environment node
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../src", import.meta.url));
const files = (readdirSync(root, { recursive: true }) as string[])
  .map((file) => file.replaceAll("\\", "/"))
  .filter((file) => file.endsWith(".ts"));

/** Files of the front end that a file imports, those of types included. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), "utf8");
  const paths = [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"(\.[^"]+)"/g)].map((m) => m[1]!);
  return paths.map((path) => normalize(join(dirname(file), path)).replaceAll("\\", "/"));
}

const imports = new Map(files.map((file) => [file, importsOf(file)]));
const arrows = [...imports].flatMap(([from, to]) => to.map((file) => [from, file] as const));

const panels = files.flatMap((file) => /^panels\/[^/]+(?=\/)/.exec(file)?.[0] ?? []);

/** From the bottom to the top; rooms of one line do not know each other. */
const LAYERS = [
  ["contract"],
  ["sources", "maths"],
  ["core", "live"],
  ["draw"],
  ["shell/frame.ts", "report"],
  ["shell/job.ts"],
  panels,
  ["panels/index.ts"],
  ["shell"],
  ["ask"],
  ["entry"],
];

/** Layer and room of a file: the longest entry of `LAYERS` that holds it. */
function placeOf(file: string): { layer: number; room: string } {
  const places = LAYERS.flatMap((rooms, layer) => rooms.map((room) => ({ layer, room })));
  const held = places.filter(({ room }) => file === room || file.startsWith(`${room}/`));
  const place = held.sort((a, b) => b.room.length - a.room.length)[0];
  if (!place) throw new Error(`${file} is in no room`);
  return place;
}

describe("imports", () => {
  it("lead to files that are there, each in a room", () => {
    expect(files.length).toBeGreaterThan(60);
    expect(files.map(placeOf)).toHaveLength(files.length);
    expect(arrows.filter(([, to]) => !imports.has(to))).toEqual([]);
  });

  it("go from the upper rooms to the lower ones, and between panels nowhere", () => {
    const against = arrows.filter(([from, to]) => {
      const [above, below] = [placeOf(from), placeOf(to)];
      return above.room !== below.room && above.layer <= below.layer;
    });
    expect(against).toEqual([]);
  });

  it("reach the study report from its entries alone", () => {
    const report = arrows.filter(([, to]) => placeOf(to).room === "report");
    const rooms = new Set(report.map(([from]) => placeOf(from).room));
    expect([...rooms].sort()).toEqual(["entry", "report"]);
  });

  it("never come back to where they began", () => {
    const circles: string[][] = [];
    const done = new Set<string>();
    const follow = (file: string, path: string[]) => {
      const at = path.indexOf(file);
      if (at >= 0) circles.push([...path.slice(at), file]);
      if (at >= 0 || done.has(file)) return;
      for (const next of imports.get(file) ?? []) follow(next, [...path, file]);
      done.add(file);
    };
    for (const file of files) follow(file, []);
    expect(circles).toEqual([]);
  });
});
