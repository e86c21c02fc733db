// The page of a study: figures, tables that sort, numbers that lead to their cases, cases that open.

import type { ThemeName } from "../contract/palette.ts";
import { openCase, panelPage, showCase } from "./case_panel.ts";
import { caseTable, sortOnHeadings } from "./cases.ts";
import { offerDownloads, reportFigures } from "./figures.ts";
import type { Study } from "./study.ts";

/**
 * Bring the page to life; `packs` hold the panels of cases, and `template` is that of such a panel.
 * Settles once it is drawn.
 */
export function startReport(
  study: Study,
  packs: readonly string[],
  template: string,
): Promise<void> {
  const root = document.documentElement;
  const themes = byId<HTMLSelectElement>("theme");
  const note = byId("filter-note");
  const clear = byId("clear");
  const table = document.querySelector<HTMLTableElement>("#cases table")!;
  const cases = caseTable(table, note, clear);
  const figures = reportFigures({
    onBrush: (chosen) => cases.show(chosen, "Selected in the figure"),
    onNumber: lead,
  });
  const preference = matchMedia("(prefers-color-scheme: dark)");
  let opened: HTMLTableRowElement | null = null;
  /** Of a chain the last model against the first. */
  let step = study.steps.length - 1;

  function theme(): ThemeName {
    if (themes.value !== "auto") return themes.value as ThemeName;
    return preference.matches ? "dark" : "light";
  }

  /** A number leads to its cases, with their scores and values where it is about these. */
  function lead({ dataset }: HTMLElement): void {
    const chosen = study.sets[Number(dataset.set)]!;
    const variant = study.variants[Number(dataset.variant)];
    const profile = study.profiles[Number(dataset.profile)];
    rescore(variant);
    cases.showPart(profile, Number(dataset.part));
    cases.show(chosen, dataset.words);
    if (variant) cases.add(`Scores are those under: ${variant.name}.`);
    if (profile) cases.add("The number is the mean of the column “this number”.");
    figures.select(chosen);
    const title = byId("cases-title");
    title.scrollIntoView({ block: "start" });
    title.focus({ preventScroll: true });
  }

  function rescore(variant: Study["variants"][number] | undefined): void {
    cases.rescore(variant);
    figures.rescore(cases.scores());
  }

  async function open(row: HTMLTableRowElement): Promise<void> {
    opened = row;
    for (const shown of cases.rows) shown.removeAttribute("aria-current");
    row.setAttribute("aria-current", "true");
    const now = step;
    const at = study.steps[now]?.panels[cases.rows.indexOf(row)];
    const state = at && (await openCase(packs[at[0]]!, at[1], study.shared));
    const page = state ? panelPage(state, template, theme()) : null;
    // Another case or step may have been opened meanwhile.
    if (opened !== row || step !== now) return;
    const host = byId("case");
    const inside = host.contains(document.activeElement);
    showCase(host, row.dataset.id!, page, {
      names: study.steps.map(({ name }) => name),
      now,
      onPick(picked) {
        step = picked;
        open(row);
      },
    });
    if (inside) host.querySelector<HTMLElement>("[role=tab][aria-selected=true]")?.focus();
  }

  /** Figures of a theme are a document of their own: selection and scores move over. */
  async function restyle(): Promise<void> {
    root.dataset.theme = themes.value;
    const chosen = figures.selected();
    document.body.dataset.state = "loading";
    try {
      await figures.draw(study.figures[theme()]);
      document.body.dataset.theme = theme();
      figures.rescore(cases.scores());
      figures.select(chosen);
      if (opened) await open(opened);
      document.body.dataset.state = "ready";
    } catch (error) {
      document.body.dataset.state = "error";
      note.textContent = `The figures could not be drawn: ${error}`;
    }
  }

  sortOnHeadings(document);
  offerDownloads(figures.picture);
  document.addEventListener("click", (event) => {
    const number = (event.target as Element).closest<HTMLElement>("button[data-set]");
    if (number) lead(number);
  });
  clear.addEventListener("click", () => {
    rescore(undefined);
    cases.showPart(undefined, 0);
    cases.show(null);
    figures.select([]);
  });
  table.tBodies[0]!.addEventListener("click", (event) => {
    const row = (event.target as Element).closest("tr");
    if (row) open(row);
  });
  themes.addEventListener("change", restyle);
  preference.addEventListener("change", () => {
    if (themes.value === "auto") restyle();
  });
  cases.show(null);
  const asked = decodeURIComponent(location.hash).match(/^#case=(.*)$/)?.[1];
  const linked = cases.rows.find((row) => row.dataset.id === asked);
  if (!linked) return restyle();
  return restyle().then(async () => {
    await open(linked);
    byId("case").scrollIntoView({ block: "start" });
  });
}

function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}
