// Marking the prompt's spans anew: a mode in which dragging says what is instruction and context; and
// ranges of neighbouring tokens: by dragging, by Shift and a click, by Shift and the arrow keys.

import type { Mark } from "../../contract/contract.ts";
import type { Store } from "../../core/store.ts";
import { button, h, listen, setAttribute, taken } from "../../draw/dom.ts";
import { count } from "../../draw/format.ts";
import { remark, segmentsUnder } from "../../maths/marks.ts";
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

export interface RangeActions {
  /** Whether the button may start or end a range now. */
  allows(button: HTMLElement): boolean;
  /** The token from which Shift extends; undefined for the button itself. */
  anchor?(): number | undefined;
  /** While the range grows; it has more than one token or was meant as a range. */
  extend(from: number, to: number): void;
  /** When it is done: the pointer is up. */
  finish?(from: number, to: number): void;
  /** Dragging with a finger scrolls, unless this is set. */
  touch?(): boolean;
}

const position = (button: HTMLElement) => Number(button.dataset.token);

/** Watch the tokens inside `area`; a click that ends a drag goes no further. */
export function tokenRange(area: HTMLElement, signal: AbortSignal, actions: RangeActions): void {
  let from: number | null = null;
  let to = -1;
  let dragged = false;

  const under = (event: PointerEvent): HTMLElement | null => {
    // A finger keeps sending its events to where it began.
    const root = area.getRootNode() as Document | ShadowRoot;
    const target = root.elementFromPoint?.(event.clientX, event.clientY) ?? event.target;
    const button = (target as HTMLElement | null)?.closest<HTMLElement>("[data-token]") ?? null;
    return button && area.contains(button) && actions.allows(button) ? button : null;
  };
  const tokenOf = (event: Event): HTMLElement | null => {
    const button = (event.target as HTMLElement).closest<HTMLElement>("[data-token]");
    return button && actions.allows(button) ? button : null;
  };

  listen(area, "pointerdown", { signal }, (event) => {
    dragged = false;
    from = null;
    if (event.button !== 0 || event.shiftKey) return;
    if (event.pointerType === "touch" && !actions.touch?.()) return;
    const button = tokenOf(event);
    if (button) from = to = position(button);
  });
  listen(area, "pointermove", { signal }, (event) => {
    if (from === null) return;
    const button = under(event);
    if (!button || position(button) === to) return;
    to = position(button);
    // From here on the drag is this row's, wherever the pointer goes.
    if (!dragged) area.setPointerCapture?.(event.pointerId);
    dragged = true;
    actions.extend(from, to);
  });
  const release = () => {
    if (from === null) return;
    const [first, last] = [from, to];
    from = null;
    actions.finish?.(first, last);
  };
  listen(area.ownerDocument, "pointerup", { signal }, release);
  listen(area.ownerDocument, "pointercancel", { signal }, () => {
    from = null;
  });
  listen(area, "click", { signal, capture: true }, (event) => {
    if (dragged) {
      dragged = false;
      taken(event);
      return;
    }
    const button = event.shiftKey ? tokenOf(event) : null;
    if (!button) return;
    event.stopPropagation();
    actions.extend(actions.anchor?.() ?? position(button), position(button));
  });
  listen(area, "keydown", { signal, capture: true }, (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const button = event.shiftKey && step ? tokenOf(event) : null;
    if (!button || !step) return;
    taken(event);
    const row = [...area.querySelectorAll<HTMLElement>("[data-token]")].filter(
      (token) => actions.allows(token) && token.parentElement === button.parentElement,
    );
    const next = row[row.indexOf(button) + step];
    if (!next) return;
    next.focus();
    actions.extend(actions.anchor?.() ?? position(button), position(next));
  });
}
