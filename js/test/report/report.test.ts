import { beforeEach, describe, expect, it, vi } from "vitest";
import { unpacked85 } from "../../src/contract/packed.ts";
import { startReport } from "../../src/report/report.ts";
import { fakeBokeh, OWN, PACKS, packed, SCORES, study, writePage } from "./page.ts";

const TEMPLATE = '<p id="state"><!--state--></p><p id="blocks"><!--blocks--></p>';
const $ = <E extends HTMLElement = HTMLElement>(selector: string) =>
  document.querySelector<E>(selector)!;
const note = () => $("#filter-note").textContent;
const rows = () => [...document.querySelectorAll<HTMLTableRowElement>("#cases tbody tr")];
const shown = () => rows().flatMap((row) => (row.hidden ? [] : [row.dataset.id]));
const column = (cell: number) =>
  Object.fromEntries(rows().map((row) => [row.dataset.id, row.cells[cell]!.textContent]));

let bokeh: ReturnType<typeof fakeBokeh>;

beforeEach(async () => {
  bokeh = fakeBokeh();
  writePage();
  await startReport(study(), PACKS, TEMPLATE);
});

describe("the page of a study", () => {
  it("draws its figures in the theme that is asked for", async () => {
    expect(document.body.dataset).toMatchObject({ state: "ready", theme: "light" });
    expect($("figure[data-figure=robust] .plot").id).toBe("plot-robust");
    expect(note()).toBe("All 4 prompts.");
    bokeh.sources.cases!.selected.indices = [2];
    const themes = $<HTMLSelectElement>("#theme");
    themes.value = "dark";
    themes.dispatchEvent(new Event("change"));
    await vi.waitFor(() =>
      expect(document.body.dataset).toMatchObject({ state: "ready", theme: "dark" }),
    );
    expect(document.documentElement.dataset.theme).toBe("dark");
    expect(document.querySelectorAll(".plot")).toHaveLength(3);
    expect(bokeh.drawn).toBe(2);
    // What was selected is selected in the new figures, and the table still says by what.
    expect(bokeh.sources.cases!.selected.indices).toEqual([2]);
    expect(note()).toBe("Selected in the figure: 1 of 4 prompts.");
  });

  it("says so where the figures cannot be drawn", async () => {
    writePage();
    Object.assign(globalThis, { Bokeh: undefined });
    await startReport(study(), PACKS, TEMPLATE);
    expect(document.body.dataset.state).toBe("error");
    expect(note()).toContain("could not be drawn");
  });

  it("leads from a number to its cases, in table and figures", () => {
    $("button[data-set='1']").click();
    expect(shown()).toEqual(["p1", "p3"]);
    expect(note()).toBe("two of them: 2 of 4 prompts.");
    expect(bokeh.sources.cases!.selected.indices).toEqual([1, 3]);
    expect(document.activeElement).toBe($("#cases-title"));
    $("#clear").click();
    expect(shown()).toHaveLength(4);
    expect(bokeh.sources.cases!.selected.indices).toEqual([]);
    expect($("#clear").hidden).toBe(true);
  });

  it("keeps the cases that are brushed in a figure", () => {
    bokeh.sources.cases!.selected.indices = [0, 3];
    expect(shown()).toEqual(["p0", "p3"]);
    expect(note()).toBe("Selected in the figure: 2 of 4 prompts.");
    bokeh.sources.cases!.selected.indices = [];
    expect(note()).toBe("All 4 prompts.");
  });

  it.each(["its number", "its mark"])("shows scores under other settings at %s", (by) => {
    if (by === "its number") $("button[data-variant]").click();
    else bokeh.sources.variants!.selected.indices = [0];
    expect(note()).toBe("all: 4 of 4 prompts. Scores are those under: raw.");
    expect(column(5)).toEqual({ p0: "1.5000", p1: "0.5000", p2: "1.0000", p3: "2.0000" });
    expect(column(6)).toEqual({ p0: "+0.5000", p1: "-0.5000", p2: "+0.0000", p3: "+1.0000" });
    const { base, tuned, difference, group } = bokeh.sources.cases!.data;
    expect([base, tuned]).toEqual([study().variants[1]!.base, study().variants[1]!.tuned]);
    expect([difference, group?.length]).toEqual([[0.5, -0.5, 0, 1], 4]);
    $("#clear").click();
    expect(column(5).p1).toBe("1.50");
    expect(bokeh.sources.cases!.data.tuned).toEqual(SCORES.tuned);
  });

  it.each(["its number", "its mark"])("shows each case's own value behind a mean at %s", (by) => {
    if (by === "its number") $("button[data-profile]").click();
    else bokeh.sources.profile!.selected.indices = [1];
    expect(note()).toContain("means: 2 of 4 prompts.");
    expect(shown()).toEqual(["p0", "p2"]);
    expect(column(3)).toEqual({ p0: "0.400", p2: "0.200", p1: "", p3: "" });
    expect($("#cases th:nth-child(4)").hidden).toBe(false);
    $("#clear").click();
    expect($("#cases th:nth-child(4)").hidden).toBe(true);
    expect(rows().map((row) => row.dataset.id)).toEqual(["p0", "p1", "p2", "p3"]);
  });

  it("opens a case with its own state and blocks in the template", async () => {
    $("tr[data-id=p0] button").click();
    await vi.waitFor(() => expect($("#case iframe")).toBeTruthy());
    const frame = $<HTMLIFrameElement>("#case iframe");
    expect(frame.title).toBe("Saliency of case p0");
    const text = /blocks">(.*?)</.exec(frame.srcdoc)![1]!;
    const blocks = Buffer.from(await unpacked85(text).arrayBuffer());
    // 2 and 5 in half precision.
    expect([...blocks.subarray(-4)]).toEqual([0x00, 0x40, 0x00, 0x45]);
    expect(frame.srcdoc).not.toContain("</script>");
    const state = /<p id="state">(.*?)<\/p>/.exec(frame.srcdoc)![1]!;
    const { manifest, ...rest } = JSON.parse(state);
    expect(rest).toEqual({ kind: "saliency", title: "a</script>", theme: "light" });
    expect(manifest.prompt_tokens).toEqual([
      { id: 5, text: "a", start: 0, end: 1, segment: "x" },
      { id: 6, text: "\u2581b", start: 1, end: 3, segment: "x" },
    ]);
    expect(manifest.answers.base.tokens).toEqual([{ id: 7, text: "c", start: 0, end: 1 }]);
    $("tr[data-id=p2] button").click();
    await vi.waitFor(() => expect($("#case h3").textContent).toBe("Case p2"));
    expect($("#case").textContent).toContain("left out");
    expect(rows().map((row) => row.getAttribute("aria-current"))).toEqual([
      null,
      null,
      "true",
      null,
    ]);
  });

  it("steps through a chain with one case open", async () => {
    writePage();
    const chain = study();
    const names = ["one", "two", "three"];
    const packs = names.map((title) => packed([{ ...OWN, title }, [1]]));
    chain.steps = names.map((name, step) => ({ name, panels: [[step, 0], null, null, null] }));
    await startReport(chain, packs, TEMPLATE);
    $("tr[data-id=p0] button").click();
    const state = () => $<HTMLIFrameElement>("#case iframe")?.srcdoc ?? "";
    await vi.waitFor(() => expect(state()).toContain('"title":"three"'));
    const picked = () => $("#case [role=tab][aria-selected=true]");
    expect(picked().textContent).toBe("three");
    $("#case [data-tab='0']").click();
    await vi.waitFor(() => expect(state()).toContain('"title":"one"'));
    expect(picked().textContent).toBe("one");
    expect(document.activeElement).toBe(picked());
    $("tr[data-id=p1] button").click();
    await vi.waitFor(() => expect($("#case h3").textContent).toBe("Case p1"));
    expect(picked().textContent).toBe("one");
  });

  it("saves each figure as it is seen", async () => {
    expect(document.querySelectorAll("figure button.save")).toHaveLength(6);
    const saved: string[] = [];
    const blobs: Blob[] = [];
    vi.spyOn(URL, "createObjectURL").mockImplementation((blob) => {
      blobs.push(blob as Blob);
      return "blob:made";
    });
    vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (
      this: HTMLAnchorElement,
    ) {
      saved.push(this.download);
    });
    $("figure[data-figure=robust] [data-format=svg]").click();
    await vi.waitFor(() => expect(saved).toEqual(["robust.svg"]));
    expect(await blobs[0]!.text()).toBe("robust as svg");
    vi.restoreAllMocks();
  });
});
