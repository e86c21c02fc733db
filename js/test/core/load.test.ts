import { describe, expect, it } from "vitest";
import type { Key } from "../../src/contract/keys.ts";
import {
  type Got,
  Loads,
  type Need,
  optional,
  quiet,
  required,
  take,
} from "../../src/core/load.ts";

const key = (name: string) => name as Key<string>;

/** Blocks that say their own name in capitals, those of `broken` fail; and what was asked for. */
function gathering(needs: (got: Got) => Need[], broken: string[] = []) {
  const asked: string[] = [];
  const loads = new Loads();
  const { signal } = new AbortController();
  const block = async <T>(name: Key<T>) => {
    asked.push(name);
    if (broken.includes(name)) throw new Error(`no ${name}`);
    return name.toUpperCase() as T;
  };
  return { asked, got: loads.got, missing: loads.gather(needs, block, signal) };
}

describe("needs", () => {
  it("are asked again as blocks arrive, and each block once", async () => {
    const { asked, got, missing } = gathering((got) => {
      const first = got(key("a")).value;
      return [...required(key("a"), key("b")), ...required(...(first ? [key(`${first}2`)] : []))];
    });
    expect(await missing).toBe("");
    expect(asked).toEqual(["a", "b", "A2"]);
    expect(take(got(key("A2")))).toBe("A2");
    expect(got(key("c")).state).toBe("loading");
    expect(() => take(got(key("c")))).toThrow();
  });

  it("fail with the reason of a block that is required", async () => {
    const { missing } = gathering(() => [...optional(key("a")), ...required(key("b"))], ["a", "b"]);
    await expect(missing).rejects.toThrow("no b");
  });

  it("go without what is optional, and say why unless it is passed over", async () => {
    const needs = () => [...quiet(key("a")), ...optional(key("b")), ...required(key("c"))];
    const { missing, got } = gathering(needs, ["a", "b"]);
    expect(await missing).toBe("no b");
    expect(got(key("a"))).toEqual({ state: "failed", reason: "no a" });
    expect(got(key("c")).value).toBe("C");
    expect(await gathering(needs, ["a"]).missing).toBe("");
  });

  it("do not wait for a block that another one has made needless", async () => {
    const loads = new Loads();
    const { signal } = new AbortController();
    const block = <T>(name: Key<T>) =>
      name === "never" ? new Promise<T>(() => {}) : Promise.resolve(name as T);
    const needs = (got: Got) => required(key("a"), ...(got(key("a")).value ? [] : [key("never")]));
    expect(await loads.gather(needs, block, signal)).toBe("");
  });
});
