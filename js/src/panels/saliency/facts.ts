// Everything that the saliency panel shows of one selection, and the blocks it follows from.

import { type Alternatives, type BySide, keys, SIDES } from "../../contract/contract.ts";
import { type Got, type Need, quiet } from "../../core/load.ts";
import type { ExactRun } from "../../core/runs.ts";
import type { State } from "../../core/state.ts";
import type { Numbers } from "../../maths/numbers.ts";
import { type Bars, barsOf } from "./bars.ts";
import { type Shares, sharesOf } from "./shares.ts";
import { both, ofSides } from "./sides.ts";
import { tableNeeds, tablesOf } from "./table.ts";
import { type Track, trackNeeds, tracksOf } from "./tracks.ts";

export interface Facts {
  /** The run behind the picture; null where an estimate is shown. */
  run: ExactRun | null;
  bars: Bars;
  tracks: Track[];
  shares: Shares | null;
  disagreement: Numbers | null;
  logprob: BySide<Numbers> | null;
  alternatives: BySide<Alternatives> | null;
}

export function factNeeds(state: State, run: ExactRun | null, got: Got): Need[] {
  const unit = unitOf(state);
  return [
    ...tableNeeds(state, run, got),
    ...trackNeeds(state),
    // Beside the picture: a page may have left them out.
    ...quiet(
      ...(state.manifest.shared ? [keys.disagreement()] : []),
      ...SIDES.flatMap((side) => [keys.logprob(side), keys.alternatives(side)]),
      ...(unit === "token" ? [] : [keys.groups(unit)]),
    ),
  ];
}

export function factsOf(state: State, run: ExactRun | null, got: Got): Facts {
  const tables = tablesOf(state, run, got);
  const logprob = both(got, keys.logprob);
  return {
    run,
    bars: barsOf(state, tables),
    tracks: tracksOf(state, got),
    shares: sharesOf(state, tables, got(keys.groups(unitOf(state))).value ?? null),
    disagreement: got(keys.disagreement()).value?.data ?? null,
    logprob: logprob && ofSides((side) => logprob[side].data),
    alternatives: both(got, keys.alternatives),
  };
}

/** What has one effect: a token, or a group of tokens. */
function unitOf(state: State): string {
  return state.method?.unit ?? "token";
}
