// Every attention head of both models, and the maps of one.

import type { HeadMeasure, Store } from "../core/store.ts";
import { h, picker } from "../draw/dom.ts";
import { quote } from "../draw/format.ts";
import { unitName } from "./concepts_data.ts";
import { headGrid } from "./head_grid.ts";
import { headMaps } from "./head_maps.ts";
import {
  type HeadNumbers,
  loadHeads,
  loadMaps,
  type Measure,
  measureOf,
  measures,
} from "./heads_data.ts";
import type { MakePanel } from "./panel.ts";

const NAMES: Record<Measure, string> = {
  change: "change of the pattern",
  instruction: "attention to the instruction",
  received: "attention received from the answer",
  sink: "attention to the first token",
  write: "write into the unit's direction",
};

export const headsPanel: MakePanel = ({ store, tooltip, signal }) => {
  const grid = headGrid(store, tooltip, signal);
  const maps = headMaps(store, tooltip, signal);
  const measure = picker<HeadMeasure>(
    "Colour of the heads",
    (headMeasure) => store.setOptions({ headMeasure }),
    signal,
  );
  return {
    label: "Heads: attention of both models",
    controls: [measure.el],
    body: h("div", { class: "tl-body" }, h("div", { class: "tl-grid-block" }, grid.el), maps.el),
    async load(view) {
      const [numbers, loaded] = await Promise.all([loadHeads(view), view.optional(loadMaps(view))]);
      return {
        title: titleOf(store, numbers.measure),
        caption: captionOf(store, numbers),
        draw() {
          grid.draw(view, numbers);
          maps.draw(view, loaded);
          const choices = measures(store).map((value) => ({ value, label: NAMES[value] }));
          measure.update(choices, numbers.measure);
        },
      };
    },
  };
};

function titleOf(store: Store, measure: Measure): string {
  const { token, layer, unit } = store.selection;
  const at = token < 0 ? "" : ` at ${quote(store.text(token))}`;
  switch (measure) {
    case "change":
      return `Which heads changed${at}`;
    case "instruction":
      return `Which heads look at the instruction${at}`;
    case "received":
      return `Which heads look at ${quote(store.text(token))}`;
    case "sink":
      return `Which heads rest on the first token${at}`;
    case "write":
      return `Which heads write into ${unitName(unit)} of layer ${layer}${at}`;
  }
}

function captionOf(store: Store, { measure, shown }: HeadNumbers): string {
  const answer = store.selection.token >= store.promptLength;
  const at =
    store.selection.token < 0
      ? "averaged over the answer"
      : answer
        ? "read at the position that predicts the token"
        : "read at the token";
  const wanted = store.selection.unit && measureOf(store) === "write" && measure !== "write";
  const layers = wanted
    ? `What the heads write into ${unitName(store.selection.unit)} is not recorded here.`
    : "Layers down, heads across.";
  const look = {
    instruction: `Attention to the instruction, ${at}`,
    received: "Mean attention of the answer's positions to this token",
    sink: `Attention to the first token, ${at}`,
    write: `Output of each head along the unit's direction, ${at}; rings are negative`,
  }[shown];
  if (measure === "change") {
    return `${look}; right: how far the two patterns differ (Jensen–Shannon). ${layers}`;
  }
  return `${look}. ${layers} Attention is not attribution.`;
}
