// Every attention head of both models, and a look into one.

import { unitName } from "../../contract/units.ts";
import {
  chosenDirection,
  directionName,
  directionNeeds,
  servedHeads,
} from "../../core/direction.ts";
import type { Got } from "../../core/load.ts";
import type { HeadMeasure } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { button, h, picker } from "../../draw/dom.ts";
import { smallEffects } from "../../draw/format.ts";
import { largest } from "../../maths/numbers.ts";
import type { MakePanel } from "../../shell/frame.ts";
import { canBeHad, type HeadNumbers, headTable, numbersNeeds, numbersOf } from "./data.ts";
import { headDetail } from "./detail.ts";
import { headEffects } from "./effects.ts";
import { ExactEffects } from "./effects_data.ts";
import { headGrid } from "./grid.ts";
import { headList } from "./list.ts";
import { headMaps } from "./maps.ts";
import {
  changeText,
  isChange,
  lookOf,
  MEASURES,
  measureOf,
  measures,
  type SideMeasure,
  titleOf,
} from "./measures.ts";
import { headPairs } from "./pairs.ts";
import { pairsComputed } from "./pairs_data.ts";
import { headScatter } from "./scatter.ts";

const WHERE = [
  { value: "token", label: "at the token" },
  { value: "average", label: "whole answer" },
] as const;

export const headsPanel: MakePanel = (setting) => {
  const { store, signal } = setting;
  const exact = new ExactEffects();
  const grid = headGrid(setting);
  const list = headList(setting);
  const detail = headDetail(setting, [
    headMaps(setting),
    headEffects(setting, exact),
    headPairs(setting),
    headScatter(setting),
  ]);
  const measure = picker<HeadMeasure>("Colour of the heads", signal, (measure) =>
    store.setOptions("heads", { measure }),
  );
  const average = picker<"token" | "average">("Where the heads are read", signal, (where) =>
    store.setOptions("heads", { average: where === "average" }),
  );
  const look = button(
    "list",
    () =>
      store.setOptions("heads", { view: store.options.heads.view === "list" ? "grid" : "list" }),
    signal,
    { title: "all heads in one list, sorted" },
  );
  return {
    label: "Heads: attention of both models",
    controls: [look, average.el, measure.el],
    body: h(
      "div",
      { class: "tl-body" },
      h("div", { class: "tl-grid-block" }, grid.el, list.el),
      detail.el,
    ),
    reads: (state) => {
      const { token, layer, head, unit } = state.selection;
      const { setSinkAside } = state.options.saliency;
      const { chosen } = state.options.update;
      return [token, layer, head, unit, setSinkAside, chosen, pairsComputed(state)];
    },
    needs: (state, got) => [
      ...numbersNeeds(state, got, exact),
      ...directionNeeds(state),
      ...detail.needs(state, got),
    ],
    picture(state, got) {
      const { selection } = state;
      const served = servedOf(state, got);
      const options = state.options.heads;
      const numbers = numbersOf(state, got, exact);
      const drawDetail = detail.picture(state, got);
      const choices = measures(state).map((value) => ({
        value,
        label: MEASURES[value].name,
        disabled: !canBeHad(state, value),
      }));
      return {
        title: titleOf(state, numbers.measure),
        caption: [served.said, plainly(numbers)].filter(Boolean).join(" "),
        how: captionOf(state, numbers),
        table: () => headTable(state, numbers),
        draw() {
          const listed = options.view === "list";
          grid.el.hidden = listed;
          list.el.hidden = !listed;
          look.textContent = listed ? "grid" : "list";
          if (listed) list.draw(numbers, selection, options.sort, served.heads);
          else grid.draw(numbers, selection, served.heads);
          const detailed = drawDetail();
          measure.update(choices, numbers.measure);
          average.update(selection.token < 0 ? [] : WHERE, options.average ? "average" : "token");
          return detailed;
        },
      };
    },
  };
};

/** Heads that the chosen direction of the update serves, counted over all layers. */
function servedOf(state: State, got: Got): { heads: number[]; said: string } {
  const direction = chosenDirection(state, got);
  const { heads, kv_heads } = state.manifest.pair;
  const served = direction ? servedHeads(direction, heads, kv_heads) : [];
  if (!direction || served.length === 0) return { heads: [], said: "" };
  const said = `Dotted: heads that direction ${directionName(direction)} of the update serves.`;
  return { heads: served.map((head) => direction.layer * heads + head), said };
}

/** How to read it; first of all why it is not what was asked for. */
function plainly({ measure, instead, values }: HeadNumbers): string {
  const small = smallEffects(largest(values.base, values.tuned), MEASURES[measure].unit);
  const seen = ["instruction", "received", "previous", "sink"].includes(measure);
  const doubt = measure === "effect" ? "An estimate is not the effect." : "";
  const stronger = isChange(measure) ? "the head changed more" : PLAIN[measure];
  const closing = seen ? "Attention is not attribution." : doubt;
  return [instead, small, `Stronger colour: ${stronger}.`, closing].filter(Boolean).join(" ");
}

const PLAIN: Record<SideMeasure, string> = {
  instruction: "the head looks more at the instruction",
  received: "the head looks more at this token",
  previous: "the head looks more at the token before",
  sink: "the head rests more on the first token",
  entropy: "the head spreads its attention more",
  effect: "the answer seems to need the head more",
  exact: "the answer needs the head more",
  pairs: "the head relates more pairs of words",
  write: "the head writes more into the unit",
};

function captionOf(state: State, { measure, instead }: HeadNumbers): string {
  const order =
    state.options.heads.view === "list" ? "Sorted by size." : "Layers down, heads across.";
  const wanted = state.selection.unit && measureOf(state) === "write" && measure !== "write";
  const layers = wanted
    ? `What the heads write into ${unitName(state.selection.unit)} is not recorded here.`
    : `${order}${instead && ` ${instead}`}`;
  if (isChange(measure)) return `${changeText(measure)}. ${layers}`;
  const look = lookOf(state, measure);
  if (measure === "pairs" || measure === "exact") return `${look}. ${layers}`;
  if (measure === "effect") return `${look}. ${layers} An estimate is not the effect.`;
  return `${look}. ${layers} Attention is not attribution.`;
}
