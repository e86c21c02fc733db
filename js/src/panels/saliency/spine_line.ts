// The line under the answer: what its marks are, where to look first, or what is expected there.

import { SIDES } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";
import type { Store } from "../../core/store.ts";
import { h } from "../../draw/dom.ts";
import { percent, quote, signed } from "../../draw/format.ts";
import { APART, expectations, gaps, landmarks, type Spine } from "./spine.ts";

export interface SpineLine {
  el: HTMLElement;
  draw(state: State, spine: Spine | null): void;
}

export function spineLine(store: Store, signal: AbortSignal): SpineLine {
  const el = h("div", { class: "tl-spine-text" });
  el.addEventListener(
    "click",
    (event) => {
      const jump = (event.target as HTMLElement).closest<HTMLElement>("[data-jump]");
      if (!jump) return;
      store.setOptions("saliency", { span: null, cell: null });
      store.select({ token: Number(jump.dataset.jump) });
    },
    { signal },
  );
  return {
    el,
    draw(state, spine) {
      el.hidden = spine === null;
      if (!spine) return;
      const m = state.selection.token - state.promptLength;
      const here = m >= 0 && state.span === null;
      el.replaceChildren(...(here ? expected(state, spine, m) : []), ...key(state, spine, here));
    },
  };
}

/** What both models expect at the selected answer token. */
function expected(state: State, spine: Spine, m: number): (HTMLElement | string)[] {
  const step = spine.steps?.[m];
  const gap = gaps(state, spine)[m];
  const parts = SIDES.filter((side) => m < spine.logprob[side].length).map((side) =>
    h(
      "span",
      {},
      h("b", { class: "tl-side", "data-side": side }, side),
      step
        ? ` expects ${expectations(step, side)}`
        : ` gives it ${percent(Math.exp(spine.logprob[side][m]!))}`,
    ),
  );
  const apart = gap === undefined ? "" : `${signed(gap)} nats${step ? `, ${step.shift}` : ""}`;
  return [...parts, h("span", { class: "tl-spine-gap" }, apart)];
}

function key(state: State, spine: Spine, short: boolean): HTMLElement[] {
  const { first, most } = landmarks(state, spine);
  const jump = (m: number) =>
    h(
      "button",
      { type: "button", class: "tl-link", "data-jump": state.promptLength + m },
      quote(state.text(state.promptLength + m), 14),
    );
  const line = state.manifest.shared ? `; thick line: more than ${APART} nat apart` : "";
  const marks = h("span", {}, `bars: probability in base and tuned${line}`);
  const jumps = [
    ...(first < 0 ? [] : [h("span", {}, "first divergence ", jump(first))]),
    ...(most.length ? [h("span", {}, "largest shifts ", ...most.map(jump))] : []),
  ];
  return short ? jumps : [...jumps, marks];
}
