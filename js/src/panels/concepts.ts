// Feed-forward units of both models as words.

import type { Store } from "../core/store.ts";
import { h } from "../draw/dom.ts";
import { count, number, percent, quote } from "../draw/format.ts";
import { parseUnit } from "../protocol.ts";
import { type Concepts, loadConcepts } from "./concepts_data.ts";
import type { MakePanel } from "./panel.ts";
import { unitList } from "./unit_list.ts";
import { wordCloud } from "./word_cloud.ts";

export const conceptsPanel: MakePanel = ({ store, tooltip, signal }) => {
  const cloud = wordCloud(tooltip, signal);
  const units = unitList(store, signal);
  return {
    label: "Concepts: feed-forward units as words",
    controls: [],
    body: h("div", { class: "tl-body" }, cloud.el, units.el),
    async load(view) {
      const concepts = await loadConcepts(view);
      const note = [`cos ${number(concepts.cosine)}`, `turned ${concepts.angle.toFixed(0)}°`];
      if (concepts.explained) {
        const { base, tuned } = concepts.explained;
        note.push(`variance ${percent(base)} → ${percent(tuned)}`);
      }
      return {
        title: titleOf(concepts),
        note: note.join(" · "),
        caption: captionOf(store, concepts),
        draw() {
          units.draw(concepts);
          cloud.draw(view, concepts);
        },
      };
    },
  };
};

function titleOf({ unit, layer }: Concepts): string {
  const { kind, index } = parseUnit(unit)!;
  return kind === "neuron"
    ? `Neuron ${index} of layer ${layer}, in base and in tuned`
    : `Concept ${index} of layer ${layer} and its match in tuned`;
}

function captionOf(store: Store, { unit, chosen, more }: Concepts): string {
  const { token, layer } = store.selection;
  const neuron = parseUnit(unit)!.kind === "neuron";
  const what = neuron
    ? "Words its value vector points to"
    : "Words nearest to one principal direction of the layer's values";
  const why = chosen
    ? ""
    : token >= 0
      ? ` The most active at ${quote(store.text(token))}.`
      : layer >= 0
        ? " The leading one that turned most."
        : " The leading one that turned most in the layer that changed most.";
  const rest = more ? ` ${count(more, "weaker word")} not drawn.` : "";
  return `${what}, read from the weights: size is the score, italic the negative end.${why}${rest}`;
}
