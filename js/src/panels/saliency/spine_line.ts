// Beside the answer where to look first; under it what its marks are, or what is expected there.

import { SIDES } from "../../contract/contract.ts";
import type { State } from "../../core/state.ts";
import type { Store } from "../../core/store.ts";
import { button, clicks, fill, h } from "../../draw/dom.ts";
import { percent, signed, tokenText } from "../../draw/format.ts";
import { APART, expectations, gaps, landmarks, type Spine } from "./spine.ts";

export function spineLine(store: Store, signal: AbortSignal) {
  const whole = button("whole answer", () => store.select({ token: -1 }), signal, {
    class: "tl-link",
  });
  const el = h("div", { class: "tl-flow tl-spine-text" });
  const jumps = h("span", { class: "tl-flow tl-jumps" });
  const jump = ({ dataset }: HTMLElement) => {
    store.setOptions("saliency", { span: null, cell: null });
    store.select({ token: Number(dataset.jump) });
  };
  clicks(jumps, "[data-jump]", signal, jump);
  return {
    el,
    /** Where to look first. */
    jumps,
    draw(state: State, spine: Spine | null) {
      const { token } = state.selection;
      el.hidden = spine === null && token < 0;
      const back = token < 0 ? [] : [whole];
      fill(jumps, ...(spine ? jumpsOf(state, spine) : []));
      const m = token - state.promptLength;
      const inAnswer = m >= 0 && state.span === null;
      const said = spine ? (inAnswer ? expected(state, spine, m) : [key(state)]) : [];
      fill(el, ...said, ...back);
    },
  };
}

/** What both models expect at the selected answer token. */
function expected(state: State, spine: Spine, m: number): (HTMLElement | string)[] {
  const step = spine.steps?.[m];
  const token = state.text(state.selection.token);
  const gap = gaps(state, spine)[m];
  const parts = SIDES.filter((side) => m < spine.logprob[side].length).map((side) =>
    h(
      "span",
      { class: "tl-expected" },
      h("b", { class: "tl-side", "data-side": side }, side),
      step
        ? ` expects ${expectations(step, side, token)}`
        : ` gives it ${percent(Math.exp(spine.logprob[side][m]!))}`,
    ),
  );
  const apart = gap === undefined ? "" : `${signed(gap)} nats${step ? `, ${step.shift}` : ""}`;
  return [...parts, h("span", { class: "tl-spine-gap" }, apart)];
}

function key(state: State): HTMLElement {
  const line = state.manifest.shared ? `; thick line: over ${APART} nat apart` : "";
  return h("span", {}, `answer: probability${line}`);
}

function jumpsOf(state: State, spine: Spine): HTMLElement[] {
  const { first, most } = landmarks(state, spine);
  const jump = (m: number) =>
    h(
      "button",
      { type: "button", class: "tl-link", "data-jump": state.promptLength + m },
      tokenText(state.text(state.promptLength + m)).word,
    );
  return [
    ...(first < 0 ? [] : [h("span", {}, "parts first at ", jump(first))]),
    ...(most.length ? [h("span", {}, "most at ", ...most.map(jump))] : []),
  ];
}
