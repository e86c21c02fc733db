// @vitest-environment node
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as contract from "../../src/contract/contract.ts";

describe("mirror of the contract in Python", () => {
  const python = (file: string) =>
    readFileSync(new URL(`../../../widgets/twinlens/contract/${file}`, import.meta.url), "utf8");
  const words = python("words.py");
  const listed = (name: string) => {
    const [, body] = new RegExp(`^${name}: .* = \\(([^)]*)\\)`, "m").exec(words) ?? [];
    return [...(body ?? "").matchAll(/"([a-z]+)"/g)].map((match) => match[1]);
  };

  it("has the same words", () => {
    expect(listed("SIDES")).toEqual([...contract.SIDES]);
    expect(listed("SEGMENTS")).toEqual([...contract.SEGMENTS]);
    expect(listed("PANELS")).toEqual([...contract.PANELS]);
    expect(python("manifest.py")).toContain(`SCHEMA_VERSION = ${contract.SCHEMA_VERSION}\n`);
  });
});
