// What the answer rests on: a matrix of prompt by answer, and bars on the running text; with settings of
// levels and densities, and of what is left out of the pictures.

import { PUBLISHED, SIDES, type Side } from "../../contract/contract.ts";
import type { SaliencyOptions } from "../../core/options.ts";
import { exactRun, leaveOthers } from "../../core/runs.ts";
import { perFrame, whenIdle } from "../../core/schedule.ts";
import type { State } from "../../core/state.ts";
import type { Store } from "../../core/store.ts";
import { clicks, h, listen, picker } from "../../draw/dom.ts";
import { popover } from "../../draw/layer.ts";
import { reachable, roving } from "../../draw/roving.ts";
import { tips } from "../../draw/tooltip.ts";
import { largest } from "../../maths/numbers.ts";
import type { MakePanel, PanelSetting } from "../../shell/frame.ts";
import { turn } from "../../sources/turn.ts";
import { aside } from "./aside.ts";
import { saliencyBadge } from "./badge.ts";
import { saliencyCosts } from "./costs.ts";
import { type Facts, factMaker, factNeeds } from "./facts.ts";
import { focusOf, together } from "./focus.ts";
import { marking, tokenRange } from "./marking.ts";
import { matrixView } from "./matrix.ts";
import { matrixTable } from "./matrix_data.ts";
import { effectUnit, saliencyNotes } from "./notes.ts";
import { labelOf, tipOf, words } from "./sentences.ts";
import { sharesChart, stack } from "./shares.ts";
import { spineLine, spineMark } from "./spine.ts";
import { shownRun } from "./table.ts";
import { type Gutter, gutter, type Strip, tokenStrip } from "./token_strip.ts";
import { trackScale } from "./tracks.ts";

/** Prompts with more tokens get lower bars, so that more lines fit. */
const LONG = 40;

export const saliencyPanel: MakePanel = (setting) => {
  const { store, tooltip, signal } = setting;
  const strips = makeStrips(store);
  const names = {
    prompt: gutter(strips.prompt.el, "prompt", signal),
    answers: strips.answers.map((strip) => {
      const side = sideOf(strip);
      return gutter(strip.el, side ?? "answer", signal, side);
    }),
  };
  const buttons = () => [strips.prompt, ...strips.answers].flatMap((strip) => strip.buttons);
  const notes = saliencyNotes();
  const spine = spineLine(store, signal);
  const matrix = matrixView(setting);
  const costs = saliencyCosts();
  const shares = sharesChart();
  const badge = saliencyBadge(setting, (weak) => {
    for (const part of [strip, body]) part.toggleAttribute("data-weak", weak);
  });
  const strip = h("div", {
    class: store.promptLength > LONG ? "tl-tokens tl-long" : "tl-tokens",
    role: "group",
    "aria-label": "prompt and answer",
  });
  const mark = marking(store, strips.prompt, strip, signal);
  strip.append(
    mark.bar,
    h(
      "div",
      { class: "tl-row tl-prompt", role: "group", "aria-label": "prompt tokens" },
      names.prompt.el,
      strips.prompt.el,
    ),
    ...strips.answers.map((strip, i) => answerRow(store, strip, names.answers[i]!)),
    h("div", { class: "tl-flow tl-strip-foot tl-aside" }, spine.el, spine.jumps, notes.el),
  );
  const body = h(
    "div",
    { class: "tl-body" },
    badge.warning,
    matrix.el,
    costs.el,
    badge.el,
    shares.el,
  );
  const factsOf = factMaker();
  /** What is drawn, for tooltips. */
  let drawn: Facts | null = null;

  const isAnswer = (element: HTMLElement) => Number(element.dataset.token) >= store.promptLength;
  const pick = (element: HTMLElement, toggle: boolean) => {
    if (mark.active && !isAnswer(element)) return;
    const token = Number(element.dataset.token);
    const again = store.selection.token === token && store.span === null;
    store.setOptions("saliency", { span: null, cell: null });
    store.select({ token: toggle && again ? -1 : token });
  };
  clicks(strip, "[data-token]", signal, (token) => pick(token, true));
  for (const strip of strips.answers) {
    const anchor = () => {
      const { token } = store.selection;
      return token >= store.promptLength ? token : undefined;
    };
    const extend = (from: number, to: number) => store.selectSpan(from, to);
    tokenRange(strip.el, signal, { allows: () => true, anchor, extend });
  }
  roving(strip, buttons, signal, (button) => pick(button, false));
  tips(strip, tooltip, signal, (target) => {
    const token = target.closest<HTMLElement>("[data-token]");
    if (token) store.pointAt({ token: Number(token.dataset.token) });
    return token && drawn ? tipOf(store, drawn, token) : null;
  });

  const method = picker<string>("Saliency method", signal, (name) => store.setMethod(name));
  const measure = picker<SaliencyOptions["answerMeasure"]>("What the bars show", signal, (value) =>
    store.setOptions(
      "saliency",
      together(focusOf(store))
        ? { answerMeasure: value }
        : { tokenMeasure: value === "levels" ? value : "effect" },
    ),
  );
  const choices = settings(store, mark.toggle, signal);

  const beside = aside(store, signal, () => {
    if (drawn) costs.draw(store, drawn, beside);
  });
  const later = whenIdle(signal);
  const paint = (state: State, facts: Facts) => {
    drawn = facts;
    drawStrips(state, strips, facts);
    // What a screen reader says of each token is in no picture.
    later(() => {
      for (const strip of [strips.prompt, ...strips.answers]) {
        strip.label((i) => labelOf(state, facts, strip, i));
      }
    });
    for (const column of [names.prompt, ...names.answers]) column.draw(facts.tracks);
    spine.draw(state, facts.spine);
    notes.draw(state, facts);
    mark.draw();
    // Drawn when it comes into sight, which changes its width.
    if (!body.closest("[hidden]")) {
      matrix.draw(state, facts.matrix, effectUnit(state));
      costs.draw(state, facts, beside);
      shares.draw(state, facts.shares);
    }
    badge.draw(facts);
    choices.draw();
    const { token } = state.selection;
    const all = buttons();
    // A range by keyboard moves the focus away from the selected token: leave it there.
    const focused = all.find((button) => button === body.ownerDocument.activeElement);
    const next = focused ?? all.find((button) => Number(button.dataset.token) === token);
    // Of the one that has the focus the browser looks at once whether it can still have it, for
    // which it lays out the page: once it is painted that is done.
    void turn().then(() => reachable(all, next));
    method.update(
      state.manifest.methods.map(({ name, title }) => ({
        value: name,
        label: name === PUBLISHED ? `${title} (paper)` : title,
      })),
      state.method?.name ?? "",
    );
    const several = together(facts.bars.focus);
    measure.update(
      [
        ...(facts.bars.focus === "answer"
          ? [{ value: "none" as const, label: "matrix only" }]
          : []),
        ...(several ? [{ value: "density" as const, label: "bars: density (paper)" }] : []),
        { value: "effect", label: several ? "bars: mean effect" : "bars: effect" },
        { value: "levels", label: several ? "bars: mean level (paper)" : "bars: levels (paper)" },
      ],
      facts.bars.measure,
    );
  };
  followRuns(setting);

  return {
    label: "Saliency: what the answer rests on",
    controls: [measure.el, method.el, choices.el],
    body,
    strip,
    reads: ({ selection: { token, layer, head, unit }, method, marks, options }) => [
      token,
      head >= 0 || unit ? [layer, head, unit] : null,
      method?.name,
      marks,
      options.update.chosen,
    ],
    needs: (state, got) => factNeeds(state, shownRun(store), got),
    picture(state, got) {
      const facts = factsOf(state, shownRun(store), got);
      const { matrix: cells } = facts;
      const table = () => (cells ? matrixTable(state, cells) : []);
      return { ...words(state, facts), table, draw: () => paint(state, facts) };
    },
  };
};

/** Show new cells of the exact run behind the picture, and stop what nobody looks at any more. */
function followRuns({ store, signal, refresh }: PanelSetting): void {
  const again = perFrame(refresh, signal);
  for (const { name, exact } of store.manifest.methods) {
    const changed = () => name === store.method?.name && again();
    if (exact) exactRun(store, name).subscribe(changed, signal);
  }
  store.subscribe(() => leaveOthers(store, store.method?.name), signal);
}

interface Strips {
  prompt: Strip;
  /** One row where the answer is shared, else one per model. */
  answers: Strip[];
}

function makeStrips(state: State): Strips {
  const n = state.promptLength;
  const sides: (Side | undefined)[] = state.manifest.shared ? [undefined] : [...SIDES];
  return {
    prompt: tokenStrip(state.manifest.prompt_tokens, 0),
    answers: sides.map((side) => tokenStrip(state.answer(side ?? "tuned").tokens, n, side)),
  };
}

function answerRow(state: State, strip: Strip, names: Gutter): HTMLElement {
  const side = sideOf(strip);
  const label = state.manifest.shared ? "answer tokens" : `answer tokens of ${side ?? "a model"}`;
  return h(
    "div",
    { class: "tl-row tl-answer", role: "group", "aria-label": label, "data-side": side },
    names.el,
    strip.el,
  );
}

function sideOf(strip: Strip): Side | undefined {
  return strip.buttons[0]?.dataset.side as Side | undefined;
}

function drawStrips(state: State, strips: Strips, facts: Facts): void {
  const { bars, tracks } = facts;
  const { showShares } = state.options.saliency;
  const none = { base: null, tuned: null };
  const max = largest(bars.values.base, bars.values.tuned);
  const look = (side: Side, i: number) => (bars.exact[side][i] ? "solid" : "hatched");
  const trackMax = tracks.map(trackScale);
  for (const strip of [strips.prompt, ...strips.answers]) {
    const row = strip.el.parentElement!;
    const mine = (strip === strips.prompt) === (bars.on === "prompt");
    strip.bars(mine ? bars.values : none, max, look);
    strip.differences(mine ? bars.differences : null, max, look);
    row.toggleAttribute("data-bars", mine && bars.measure !== "none");
    row.toggleAttribute("data-gaps", mine && bars.differences !== null);
    row.toggleAttribute("data-shares", showShares);
    strip.tracks(tracks, trackMax);
    strip.select(state.selection.token, state.reading, state.span);
  }
  strips.prompt.segments(state.segments);
  strips.prompt.collapse(state.options.saliency.hideTemplate, state.selection.token);
  const { shares } = facts;
  for (const strip of strips.answers) {
    const own = sideOf(strip);
    const shown = own ? [own] : SIDES;
    const stacked = shares?.marked ? shares : null;
    const make = (i: number) => [
      facts.spine && spineMark(state, facts.spine, i, own),
      stacked && stack({ base: stacked.along.base[i]!, tuned: stacked.along.tuned[i]! }, shown),
    ];
    strip.stacks(make, [facts.spine, stacked]);
  }
  const form = [
    bars.on,
    bars.measure,
    bars.differences === null,
    showShares,
    !facts.spine,
    tracks.length,
  ];
  for (const strip of [strips.prompt, ...strips.answers]) strip.paint(form.join());
}

const NUMBERS = [
  ["levels", "L, number of levels", 1],
  ["threshold", "b, levels not above it count as 0 (density)", 0],
  ["pictureThreshold", "b for pictures of levels", 0],
  ["norm", "p of the density", 1],
] as const;
const MAX = 100;

const SWITCHES = [
  ["relative", "divide densities by the prompt's maximum, as published"],
  ["setSinkAside", "set the first token aside in attention"],
  ["hideTemplate", "collapse template tokens"],
  ["showShares", "show shares of the effect by part of the prompt"],
] as const;

/** `more` stands above the settings. */
export function settings(store: Store, more: HTMLElement, signal: AbortSignal) {
  const now = () => ({ ...store.options.saliency, ...store.options.saliency.density });
  const put = (name: keyof ReturnType<typeof now>, value: number | boolean) => {
    const { density } = store.options.saliency;
    const patch = { [name]: value };
    store.setOptions("saliency", name in density ? { density: { ...density, ...patch } } : patch);
  };
  const numbers = NUMBERS.map(([name, label, min]) => {
    const input = h("input", { type: "number", min, max: MAX, step: 1 });
    let shown = Number.NaN;
    const change = () => {
      const value = Math.min(Math.max(Number(input.value) || min, min), MAX);
      input.value = String(value);
      put(name, value);
    };
    listen(input, "change", { signal }, change);
    const draw = () => {
      const value = now()[name];
      if (value !== shown) input.value = String(value); // what is being typed stays
      shown = value;
    };
    return { el: h("label", {}, input, label), draw };
  });
  const switches = SWITCHES.map(([name, label]) => {
    const input = h("input", { type: "checkbox" });
    listen(input, "change", { signal }, () => put(name, input.checked));
    const draw = () => {
      input.checked = now()[name];
    };
    return { el: h("label", {}, input, label), draw };
  });
  const parts = [...numbers, ...switches];
  const { el, close } = popover(
    "settings",
    "settings of the saliency panel",
    [more, ...parts.map((part) => part.el)],
    signal,
  );
  listen(more, "click", { signal }, close);
  return {
    el,
    draw() {
      for (const part of parts) part.draw();
    },
  };
}
