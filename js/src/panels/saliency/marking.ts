// Marking the prompt's spans anew: a mode in which dragging says what is instruction and context.

import type { Mark } from "../../contract/contract.ts";
import type { Store } from "../../core/store.ts";
import { button, h, listen, setAttribute, taken } from "../../draw/dom.ts";
import { count } from "../../draw/format.ts";
import { remark, segmentsUnder } from "../../maths/marks.ts";
import { tokenRange } from "./token_range.ts";
import type { Strip } from "./token_strip.ts";

type Kind = Mark[2] | "other";

const KINDS: [Kind, string][] = [
  ["instruction", "instruction"],
  ["context", "context"],
  ["other", "neither"],
];

export interface Marking {
  /** The button that begins and ends it. */
  toggle: HTMLButtonElement;
  /** The line of choices. */
  bar: HTMLElement;
  readonly active: boolean;
  draw(): void;
}

let made = 0;

export function marking(
  store: Store,
  strip: Strip,
  area: HTMLElement,
  signal: AbortSignal,
): Marking {
  let active = false;
  let kind: Kind = "instruction";
  let range: [number, number] | null = null;
  let anchor: number | undefined;

  const toggle = button("mark spans", () => set(!active), signal, { "aria-pressed": "false" });
  const said = h("span", { class: "tl-sr", role: "status" });
  const name = `tl-kind-${++made}`; // the radio buttons of one panel belong together
  const choices = KINDS.map(([value, label]) => {
    const input = h("input", { type: "radio", name, value });
    input.checked = value === kind;
    listen(input, "change", { signal }, () => choose(value));
    return { value, input, el: h("label", { class: "tl-kind", "data-kind": value }, input, label) };
  });
  const reset = button("as traced", () => store.setMarks(null), signal);
  const bar = h(
    "div",
    {
      class: "tl-flow tl-marking",
      role: "group",
      "aria-label": "mark spans of the prompt",
      hidden: true,
    },
    h("span", {}, "Drag over prompt tokens, or Shift + arrows and Enter, to mark them as"),
    ...choices.map((choice) => choice.el),
    reset,
    button("done", () => set(false), signal),
    said,
  );

  const choose = (value: Kind) => {
    kind = value;
    for (const choice of choices) choice.input.checked = choice.value === value;
    draw();
  };
  const preview = (from: number, to: number) => {
    anchor ??= from;
    range = [Math.min(from, to), Math.max(from, to)];
    draw();
  };
  const apply = (from: number, to: number) => {
    const [first, last] = [Math.min(from, to), Math.max(from, to)];
    const { prompt_tokens } = store.manifest;
    const before = segmentsUnder(prompt_tokens, store.marks);
    store.setMarks(remark(prompt_tokens, store.marks, first, last, kind));
    const changed = store.segments.filter((segment, i) => segment !== before[i]).length;
    said.textContent = `${count(changed, "token")} marked as ${kind}`;
    drop();
  };
  const drop = () => {
    range = null;
    anchor = undefined;
    draw();
  };
  const set = (on: boolean) => {
    active = on;
    drop();
    if (on) choices.find((choice) => choice.value === kind)!.input.focus();
    else toggle.focus();
  };
  const draw = () => {
    bar.hidden = !active;
    toggle.setAttribute("aria-pressed", String(active));
    reset.disabled = store.marks === null;
    area.toggleAttribute("data-marking", active);
    for (const [i, token] of strip.buttons.entries()) {
      const inside = range !== null && i >= range[0] && i <= range[1];
      setAttribute(token, "data-marking", inside ? kind : "");
    }
  };

  tokenRange(strip.el, signal, {
    allows: () => active,
    anchor: () => anchor,
    touch: () => active,
    extend: preview,
    finish: apply,
  });
  listen(strip.el, "keydown", { signal, capture: true }, (event) => {
    const token = active && (event.target as HTMLElement).closest<HTMLElement>("[data-token]");
    if (!token) return;
    const at = Number(token.dataset.token);
    if (event.key === "Enter" || event.key === " ") apply(...(range ?? [at, at]));
    else if (event.key === "Escape" && range) drop();
    else return;
    taken(event);
  });
  listen(area, "keydown", { signal }, (event) => {
    if (!active || event.key !== "Escape") return;
    set(false);
    event.stopPropagation();
  });
  draw();
  return {
    toggle,
    bar,
    get active() {
      return active;
    },
    draw,
  };
}
