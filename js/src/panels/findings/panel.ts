// What tuning changed, in a few sentences; each row selects the view that shows it.

import { type Finding, keys } from "../../contract/contract.ts";
import { quiet, required } from "../../core/load.ts";
import { DESK, same, shownIn } from "../../core/options.ts";
import { SELECTION_DEFAULTS, type Selection } from "../../core/selection.ts";
import type { Store } from "../../core/store.ts";
import { clicks, fill, h } from "../../draw/dom.ts";
import { visible } from "../../draw/format.ts";
import { reachable, roving } from "../../draw/roving.ts";
import { tips } from "../../draw/tooltip.ts";
import type { MakePanel } from "../../shell/frame.ts";

const TITLE = "What tuning changed here";

export const findingsPanel: MakePanel = ({ store, surface, tooltip, signal }) => {
  const body = h("div", { class: "tl-body tl-findings-list" });
  const buttons = () => [...body.querySelectorAll<HTMLElement>("button")];
  let shown: readonly Finding[] = [];

  /** Select what a finding is about; the one that is selected already lets go. */
  const choose = (index: number) => {
    const finding = shown[index];
    if (!finding) return;
    const again = store.options.findings.chosen === index && isSelected(finding, store.selection);
    store.setOptions("findings", { chosen: again ? -1 : index });
    store.setOptions("saliency", { span: null, cell: null });
    // That concepts are kept is seen in the angles of the layers.
    if (finding.kind === "kept" && !again) store.setOptions("concepts", { tab: "rotation" });
    store.select(again ? SELECTION_DEFAULTS : selectionOf(finding));
    if (!again) bringIntoView(store, surface.root, finding.panel);
  };
  clicks(body, "[data-finding]", signal, (row) => choose(Number(row.dataset.finding)));
  tips(body, tooltip, signal, (target) => {
    const row = target.closest<HTMLElement>("[data-finding]");
    const finding = shown[Number(row?.dataset.finding)];
    // Where all of it is seen, there is nothing to add.
    if (!row || !finding || !isCut(row)) return null;
    const text = finding.text.map(([, part]) => visible(part)).join("");
    return { title: visible(finding.title), lines: [text, visible(finding.checked)] };
  });
  roving(body, buttons, signal, (row) => reachable(buttons(), row));

  return {
    label: TITLE,
    controls: [],
    body,
    reads: ({ selection }) => selection,
    needs: (state) => {
      const key = keys.findings();
      // What is neither recorded nor can be computed is no error.
      const can = state.has(key) || (state.live && !state.lacks(key));
      const needed = can ? required(key) : quiet(key);
      // Taking the update apart takes long: something is said of it once it was asked for.
      return state.has(keys.update()) ? [...needed, ...quiet(keys.updateFinding())] : needed;
    },
    picture(state, got) {
      const first = got(keys.findings()).value ?? null;
      const findings = first && [...first, ...(got(keys.updateFinding()).value ?? [])];
      const { selection } = state;
      const without =
        state.lacks(keys.findings()) ||
        "This recording was made without findings: trace the prompt anew.";
      const { chosen } = state.options.findings;
      return {
        title: TITLE,
        caption: findings ? "" : without,
        table: () => [
          ["finding", "sentence", "checked"],
          ...(findings ?? []).map(({ title, text, checked }) => [
            ...[title, text.map(([, part]) => part).join(""), checked],
          ]),
        ],
        draw() {
          shown = findings ?? [];
          const focused = buttons().indexOf(body.ownerDocument.activeElement as HTMLElement);
          fill(
            body,
            ...shown.map((finding, i) =>
              row(finding, i, i === chosen && isSelected(finding, selection)),
            ),
          );
          const rows = buttons();
          reachable(rows, rows[focused] ?? rows[chosen]);
          rows[focused]?.focus();
        },
      };
    },
  };
};

function selectionOf({ selection }: Finding): Selection {
  const names = Object.keys(SELECTION_DEFAULTS) as (keyof Selection)[];
  const given = names.filter((name) => typeof selection[name] === typeof SELECTION_DEFAULTS[name]);
  return {
    ...SELECTION_DEFAULTS,
    ...Object.fromEntries(given.map((name) => [name, selection[name]])),
  };
}

function isSelected(finding: Finding, selection: Selection): boolean {
  return same(selectionOf(finding), selection);
}

/** Whether a part of a row is not on the screen. */
function isCut(row: HTMLElement): boolean {
  const [text, checked] = [...row.children] as [HTMLElement, HTMLElement];
  const cut = [text, checked].some((part) => part.scrollWidth > part.clientWidth);
  return cut || checked.offsetWidth === 0;
}

/** Nothing to show means nothing to click. */
function row(finding: Finding, index: number, selected: boolean): HTMLElement {
  const sentence = [
    h(
      "span",
      { class: "tl-finding-text" },
      h("b", { class: "tl-finding-title" }, visible(finding.title)),
      " ",
      ...finding.text.map(([kind, text]) => run(kind, text)),
    ),
    h("small", { class: "tl-checked tl-aside" }, visible(finding.checked)),
  ];
  if (finding.kind === "nothing") return h("p", { class: "tl-finding" }, ...sentence);
  return h(
    "button",
    {
      type: "button",
      class: "tl-finding",
      "data-finding": index,
      "data-kind": finding.kind,
      "aria-pressed": String(selected),
    },
    ...sentence,
  );
}

function run(kind: string, text: string): HTMLElement | string {
  const shown = visible(text);
  if (kind === "base" || kind === "tuned") {
    return h("span", { class: "tl-side", "data-side": kind }, shown);
  }
  return kind === "token" ? h("bdi", { class: "tl-quoted" }, shown) : shown;
}

/** The panel that shows it: its tab, and where all stand below each other its place. */
function bringIntoView(store: Store, root: HTMLElement, kind: string): void {
  const panel = DESK.find((name) => name === kind);
  if (!panel) return;
  store.setOptions("dashboard", shownIn(panel));
  const el = root.querySelector(`[data-panel=${panel}]`);
  if (!el || root.querySelector("[data-layout]:not([data-layout=grid])")) return;
  const { top, height } = el.getBoundingClientRect();
  if (top + Math.min(height, 200) > innerHeight || top + height < 100) {
    el.scrollIntoView?.({ block: "center", behavior: "smooth" });
  }
}
