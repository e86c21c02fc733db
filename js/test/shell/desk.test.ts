import { describe, expect, it, vi } from "vitest";
import { keys } from "../../src/contract/contract.ts";
import type { Source } from "../../src/sources/source.ts";
import { manifest, source } from "../fixture.ts";
import { all, show } from "../mounted.ts";

const shown = (root: HTMLElement) =>
  all(root, ".tl-desk > .tl-slot:not([hidden]) > [data-panel]").map((el) => el.dataset.panel);
const tab = (root: HTMLElement, name: string) =>
  root.querySelector<HTMLElement>(`.tl-desk-bar [data-tab=${name}]`)!;

describe("the desk", () => {
  it("shows one panel at a time below tokens that stay, and only that one runs", async () => {
    const made = manifest();
    const from = source(made);
    const view = { dashboard: { layout: "tabs" } };
    const { root, store, settled } = await show("dashboard", made, from, { view });
    expect(shown(root)).toEqual(["saliency"]);
    expect(from.asked).not.toContain(keys.componentChange());
    tab(root, "concepts").click();
    await settled();
    expect(shown(root)).toEqual(["concepts"]);
    expect(from.asked).toContain(keys.componentChange());
    // Tokens stand above, and follow the selection.
    const token = root.querySelector<HTMLElement>(".tl-slot-strip [data-token='7']")!;
    token.click();
    await settled();
    await vi.waitFor(() => expect(token.getAttribute("aria-pressed")).toBe("true"));
    expect(store.options.dashboard).toEqual({
      layout: "tabs",
      tab: "concepts",
      beside: "concepts",
    });
    expect(root.querySelector<HTMLElement>("[data-panel=heads]")!.dataset.state).toBe("hidden");
  });

  it("keeps the matrix beside the tabs, and brings up what a finding is about", async () => {
    const view = { dashboard: { layout: "pair", beside: "overview" } };
    const { root, settled } = await show("dashboard", manifest(), undefined, { view });
    expect(shown(root)).toEqual(["saliency", "overview"]);
    expect(tab(root, "saliency").hidden).toBe(true);
    const finding = [...root.querySelectorAll<HTMLElement>("[data-finding]")].find(
      (row) => row.dataset.kind !== "copies",
    )!;
    finding.click();
    await settled();
    expect(shown(root)).toContain("saliency");
    expect(shown(root)).toHaveLength(2);
  });

  it("offers a panel unless a page holds nothing of it", async () => {
    const made = manifest();
    const page = (...lacking: string[]): Source => {
      const closed = { ...source(made), closed: true as const };
      return { ...closed, has: (key) => !lacking.includes(key) };
    };
    const offered = async (from: Source) => {
      const { root } = await show("dashboard", made, from);
      return all(root, ".tl-desk-bar [data-tab]:not([hidden])").map((el) => el.dataset.tab);
    };
    const every = ["carried", "update", "heads", "concepts", "overview"];
    const without = (name: string) => every.filter((one) => one !== name);
    expect(await offered(source(made))).toEqual(every);
    expect(await offered(page())).toEqual(every);
    expect(await offered(page(keys.update()))).toEqual(without("update"));
    expect(await offered(page(keys.headSink("base")))).toEqual(every);
    expect(await offered(page(keys.headSink("base"), keys.headSink("tuned")))).toEqual(
      without("heads"),
    );
  });
});
