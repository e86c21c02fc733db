// The dashboard: a header and all panels, linked by one store.

import { type Manifest, SIDES, type Side } from "../contract/contract.ts";
import type { Store } from "../core/store.ts";
import { button, h } from "../draw/dom.ts";
import { number, visible } from "../draw/format.ts";
import { helpCard } from "./help.ts";

export interface Dashboard {
  el: HTMLElement;
  /** Where each panel goes, by its name. */
  slots: Map<string, HTMLElement>;
}

export function dashboard(store: Store, panels: readonly string[], signal: AbortSignal): Dashboard {
  const help = helpCard(signal);
  const slots = new Map(
    panels.map((name) => [name, h("div", { class: `tl-slot tl-slot-${name}` })]),
  );
  const el = h(
    "div",
    { class: "tl-dashboard" },
    header(store, help.toggle, signal),
    ...slots.values(),
    help.el,
  );
  return { el, slots };
}

function header(store: Store, help: () => void, signal: AbortSignal): HTMLElement {
  const { manifest } = store;
  const mode = h("span", { class: "tl-mode" }, responseMode(manifest));
  const present = button("present", () => store.setPresentation(!store.presentation), signal, {
    title: "larger type, no controls (P)",
    "aria-pressed": String(store.presentation),
  });
  store.subscribe(() => present.setAttribute("aria-pressed", String(store.presentation)), signal);
  return h(
    "header",
    { class: "tl-top" },
    h("strong", { class: "tl-brand" }, "twinlens"),
    ...SIDES.map((side) => modelName(manifest, side)),
    h(
      "div",
      { class: "tl-top-end" },
      mode,
      present,
      button("?", help, signal, { "aria-label": "help" }),
    ),
    h(
      "div",
      { class: "tl-answers" },
      ...SIDES.map((side) => ownAnswer(manifest, side)),
      manifest.pair.note && h("span", { class: "tl-pair-note" }, manifest.pair.note),
    ),
  );
}

function modelName(manifest: Manifest, side: Side): HTMLElement {
  const { name, revision, dtype, parameters } = manifest.pair[side];
  const size =
    parameters >= 1e9 ? `${number(parameters / 1e9)} B` : `${number(parameters / 1e6)} M`;
  return h(
    "span",
    { class: "tl-model", title: `${name}\n${revision}\n${dtype}, ${size} parameters` },
    h("i", { class: "tl-mark", "data-side": side, "data-look": "solid" }),
    h("span", {}, `${side} · `),
    h("bdi", {}, name),
  );
}

/** What each model answers by itself, whatever answer is explained. */
function ownAnswer(manifest: Manifest, side: Side): HTMLElement {
  const { own_text, stopped } = manifest.answers[side];
  return h(
    "span",
    { class: "tl-own" },
    h("span", { class: "tl-side", "data-side": side }, `${side} answers`),
    " ",
    h("q", { dir: "auto", title: own_text }, visible(own_text.trim()) || "nothing"),
    stopped ? "" : " … (cut off)",
  );
}

function responseMode(manifest: Manifest): string {
  if (!manifest.shared) return "each model explains its own answer";
  const whose =
    manifest.response === "given" ? "a given answer" : `the answer of ${manifest.response}`;
  return `${whose}, read by both`;
}
