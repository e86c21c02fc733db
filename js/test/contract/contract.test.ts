// @vitest-environment node
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as contract from "../../src/contract/contract.ts";

describe("mirror of schema.py", () => {
  const schema = readFileSync(
    new URL("../../../widgets/twinlens/schema.py", import.meta.url),
    "utf8",
  );
  const listed = (name: string) => {
    const [, body] = new RegExp(`^${name}: .* = \\(([^)]*)\\)`, "m").exec(schema) ?? [];
    return [...(body ?? "").matchAll(/"([a-z]+)"/g)].map((match) => match[1]);
  };

  it("has the same words", () => {
    expect(listed("SIDES")).toEqual([...contract.SIDES]);
    expect(listed("SEGMENTS")).toEqual([...contract.SEGMENTS]);
    expect(listed("PANELS")).toEqual([...contract.PANELS]);
    expect(schema).toContain(`SCHEMA_VERSION = ${contract.SCHEMA_VERSION}\n`);
  });
});
