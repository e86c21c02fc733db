// Feed-forward units of both models as words.

import { parseUnit } from "../../contract/units.ts";
import type { CloudShape, ConceptsOptions } from "../../core/options.ts";
import type { Store } from "../../core/store.ts";
import { h, picker } from "../../draw/dom.ts";
import { count, number, percent, quote } from "../../draw/format.ts";
import type { MakePanel } from "../../shell/frame.ts";
import { type Concepts, loadConcepts } from "./data.ts";
import { nameEditor } from "./name_editor.ts";
import { neuronCard } from "./neuron_card.ts";
import { unitSheets } from "./unit_sheets.ts";
import { wordCloud } from "./word_cloud.ts";

const SHAPES: { value: CloudShape; label: string }[] = [
  { value: "zones", label: "in three zones" },
  { value: "clouds", label: "a cloud per model" },
];
const ENDS: { value: ConceptsOptions["ends"]; label: string }[] = [
  { value: "together", label: "both ends" },
  { value: "apart", label: "ends apart" },
];

export const conceptsPanel: MakePanel = (setting) => {
  const { store, tooltip, signal } = setting;
  const cloud = wordCloud(tooltip, (word) => sheets.find(word), signal);
  const card = neuronCard(store, signal);
  const name = nameEditor(store, signal);
  const sheets = unitSheets(setting);
  const shapes = picker<CloudShape>(
    "How the words are laid out",
    (shape) => store.setOptions("concepts", { shape }),
    signal,
  );
  const sides = picker<ConceptsOptions["ends"]>(
    "Ends of the direction",
    (ends) => store.setOptions("concepts", { ends }),
    signal,
  );
  return {
    label: "Concepts: feed-forward units as words",
    controls: [shapes.el, sides.el],
    body: h(
      "div",
      { class: "tl-body" },
      h("div", { class: "tl-word-block" }, cloud.el, name.el, card.el),
      sheets.el,
    ),
    async load(view) {
      const { shape, ends } = store.options.concepts;
      const concepts = await loadConcepts(view, ends === "apart");
      const [drawCard, drawSheet] = await Promise.all([
        card.load(view, concepts),
        sheets.load(view, concepts),
      ]);
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
          shapes.update(SHAPES, shape);
          sides.update(ENDS, ends);
          const sheet = drawSheet();
          cloud.draw(view, concepts, shape);
          name.draw(concepts);
          drawCard();
          return sheet;
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

function captionOf(store: Store, { unit, chosen, more, ends }: Concepts): string {
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
        : " The leading one that turned most, in the upper layer whose concepts turned most.";
  const rest = more ? ` ${count(more, "weaker word")} not drawn.` : "";
  const parted = ends ? "" : ", italic the negative end";
  return `${what}, read from the weights: size is the score${parted}.${why}${rest}`;
}
