// Second lines of numbers under the text: attention of the selected head, activation of the unit.

import {
  type BySide,
  type Key,
  keys,
  SIDES,
  type Side,
  type UpdateDirection,
} from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import { parseUnit, unitName } from "../../contract/units.ts";
import { chosenDirection, directionName, directionNeeds } from "../../core/direction.ts";
import { both, type Got, type Need, optional, quiet } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import { eachSide, largest, meanRows, type Numbers, row } from "../../maths/numbers.ts";

type Unit = NonNullable<ReturnType<typeof parseUnit>>;

/** A second line of numbers under every token of the text, such as attention of a head. */
export interface Track {
  name: string;
  /** A word or two for the edge. */
  short: string;
  values: BySide<Numbers>;
  /** Positions left out of the picture. */
  skip: readonly number[];
  /** Of tuned alone: its tokens are underlined, too. */
  update?: true;
}

/** Tracks that the selected head and unit add. */
export function trackNeeds(state: State): Need[] {
  const { layer, head, unit } = state.selection;
  const parsed = parseUnit(unit);
  return [
    ...directionNeeds(state),
    ...(head >= 0 ? optional(...SIDES.map((side) => keys.attention(side, layer, head))) : []),
    ...(parsed ? optional(...SIDES.map((side) => unitKey(side, layer, parsed))) : []),
    ...(parsed?.kind === "component" ? quiet(keys.baseComponentActivations(layer)) : []),
  ];
}

export function tracksOf(state: State, got: Got): Track[] {
  const { layer, head, unit } = state.selection;
  const tracks: Track[] = [];
  const patterns = head >= 0 ? both(got, (side) => keys.attention(side, layer, head)) : null;
  if (patterns) tracks.push(attentionTrack(state, patterns));
  const direction = chosenDirection(state, got);
  if (direction) tracks.push(directionTrack(state, direction));
  const parsed = parseUnit(unit);
  const activations = parsed && both(got, (side) => unitKey(side, layer, parsed));
  if (!activations) return tracks;
  const isComponent = parsed.kind === "component";
  const values = eachSide(
    (side): Numbers =>
      isComponent ? column(activations[side], parsed.index) : activations[side].data,
  );
  const name = `activation of ${unitName(unit)} in layer ${layer}`;
  tracks.push({ name, short: unitName(unit), values, skip: [] });
  const turned = isComponent && got(keys.baseComponentActivations(layer)).value;
  if (turned) {
    // One direction followed through both models: base's, with what tuned puts along it.
    const name = `along base’s direction of concept ${parsed.index}, in both`;
    const { base } = values;
    const both = { base, tuned: column(turned, parsed.index) };
    tracks.push({ name, short: "base’s way", values: both, skip: [] });
  }
  return tracks;
}

/** The largest value of a track outside what is set aside. */
export function trackScale({ values, skip }: Track): number {
  return largest(
    ...SIDES.map((side) => Array.from(values[side], (v, i) => (skip.includes(i) ? 0 : v))),
  );
}

/** Activation of a neuron along all tokens of one model, or that of all components. */
function unitKey(side: Side, layer: number, { kind, index }: Unit): Key<Tensor> {
  return kind === "neuron"
    ? keys.neuronActivations(side, layer, index)
    : keys.componentActivations(side, layer);
}

/** Where the chosen direction of the update did most; of other tokens it is not known. */
function directionTrack(state: State, direction: UpdateDirection): Track {
  const tuned = new Float64Array(state.length("tuned")).fill(Number.NaN);
  for (const [at, nats] of direction.tokens) tuned[at] = nats;
  const where = `at the ${direction.tokens.length} tokens where it acts most, which are underlined`;
  return {
    name: `nats by direction ${directionName(direction)} of the update, ${where}; hollow: against the answer`,
    short: "direction",
    values: { base: [], tuned },
    skip: [],
    update: true,
  };
}

function attentionTrack(state: State, patterns: BySide<Tensor>): Track {
  const { token, layer, head } = state.selection;
  const values = eachSide((side): Numbers => {
    const width = patterns[side].shape[1]!;
    if (token >= 0) return state.reading < width ? row(patterns[side], state.reading) : [];
    return meanRows(patterns[side].data, width, Math.max(state.promptLength - 1, 0), width - 1);
  });
  const skip = state.options.saliency.setSinkAside ? [0] : [];
  const aside = skip.length
    ? `; first token set aside: ${SIDES.map((side) => `${side} ${Math.round((values[side][0] ?? 0) * 100)} %`).join(", ")}`
    : "";
  const from = token < 0 ? "mean over the answer" : "for the selected token";
  const name = `attention of head ${layer}.${head}, ${from}${aside}`;
  return { name, short: `head ${layer}.${head}`, values, skip };
}

function column({ data, shape }: Tensor, index: number): Float64Array {
  const [length, width] = shape as [number, number];
  return Float64Array.from({ length }, (_, t) => data[t * width + index] ?? Number.NaN);
}
