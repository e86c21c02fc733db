// The head of the dashboard: both models, what they answer, and the buttons that concern all.

import { keys, type Manifest, type OwnAnswer, SIDES, type Side } from "../contract/contract.ts";
import { turnedText } from "../core/direction.ts";
import { attempt } from "../core/load.ts";
import { ownTemplates } from "../core/state.ts";
import type { Store } from "../core/store.ts";
import { button, h } from "../draw/dom.ts";
import { number, visible } from "../draw/format.ts";

/** What the buttons of the header do. */
export interface Buttons {
  help(): void;
  present(): void;
  /** Keeps what is seen. */
  keep: HTMLElement;
}

export function makeHeader(
  store: Store,
  { help, present: begin, keep }: Buttons,
  signal: AbortSignal,
) {
  const { manifest } = store;
  const answers = SIDES.map((side) => ownAnswer(store, side, signal));
  const present = button("present", begin, signal, {
    title: "one panel a slide, over the whole screen (P)",
    "aria-pressed": String(store.presentation),
  });
  store.subscribe(() => present.setAttribute("aria-pressed", String(store.presentation)), signal);
  const el = h(
    "header",
    { class: "tl-top" },
    h(
      "div",
      { class: "tl-models" },
      ...SIDES.map((side, i) =>
        h("div", { class: "tl-line" }, modelName(store, side), answers[i]!.el),
      ),
    ),
    h(
      "div",
      { class: "tl-top-end" },
      h("strong", { class: "tl-brand" }, "twinlens"),
      keep,
      present,
      button("?", help, signal, { "aria-label": "help", title: "help (?)" }),
    ),
    h(
      "p",
      { class: "tl-mode tl-cut", title: templateText(manifest) },
      [responseMode(manifest), manifest.pair.note].filter(Boolean).join(" · "),
    ),
  );
  return {
    el,
    /** Ask for what can wait until the panels are there. */
    ask() {
      for (const answer of answers) answer.ask();
    },
  };
}

function modelName({ manifest, place, options }: Store, side: Side): HTMLElement {
  const { name, revision, dtype, parameters } = manifest.pair[side];
  const turned = side === "tuned" && place ? ` (${turnedText(options.update)})` : "";
  const size =
    parameters >= 1e9 ? `${number(parameters / 1e9)} B` : `${number(parameters / 1e6)} M`;
  return h(
    "span",
    { class: "tl-model tl-cut", title: `${name}\n${revision}\n${dtype}, ${size} parameters` },
    h("i", { class: "tl-mark", "data-side": side, "data-look": "solid" }),
    h("span", { class: "tl-side", "data-side": side }, side),
    " ",
    h("bdi", {}, name + turned),
  );
}

/** What each model answers by itself, whatever answer is explained. */
function ownAnswer(store: Store, side: Side, signal: AbortSignal) {
  const { stopped, own_text: known } = store.manifest.answers[side];
  const own_text = side === "tuned" && store.place ? null : known;
  const el = h("span", { class: "tl-own tl-cut" });
  const show = (answer: OwnAnswer) => {
    const said = visible(answer.text.trim()) || "nothing";
    el.title = answer.text;
    el.replaceChildren(
      h("span", { class: "tl-answers" }, "answers "),
      h("q", { dir: "auto" }, said),
      answer.stopped ? "" : " … (cut off)",
    );
  };
  if (own_text !== null) show({ text: own_text, stopped: stopped ?? true });
  return {
    el,
    /** Let the model answer, if it has not yet: what it says by itself may not be what is read. */
    ask() {
      if (own_text !== null) return;
      attempt({ signal }, store.block(keys.ownAnswer(side), signal)).then(
        (load) => load.value && show(load.value),
        () => {}, // the dashboard is gone
      );
    },
  };
}

function responseMode(manifest: Manifest): string {
  const { template } = manifest.parameters;
  let prompt = template
    ? `, in the chat template of ${template === "base" ? "base" : "tuned"}`
    : "";
  if (ownTemplates(manifest)) prompt = ", each in its own chat template";
  if (!manifest.shared) return `each model explains its own answer${prompt}`;
  const whose =
    manifest.response === "given" ? "a given answer" : `the answer of ${manifest.response}`;
  return `${whose}, read by both${prompt}`;
}

/** The template that was used, for who wants to read it. */
function templateText(manifest: Manifest): string | null {
  const { chat_template, chat_templates, chat } = manifest.parameters;
  if (chat_templates) {
    const by = chat_templates as Record<Side, string | null>;
    return SIDES.map((side) => `${side}: ${by[side] ?? "none"}`).join("\n");
  }
  if (typeof chat_template !== "string") return null;
  return chat ? `${JSON.stringify(chat)}\n${chat_template}` : chat_template;
}
