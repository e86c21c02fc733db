// Everything that the saliency panel shows of one selection, and the blocks it follows from.

import { type Alternatives, type BySide, keys, SIDES } from "../../contract/contract.ts";
import { both, type Got, type Need, quiet } from "../../core/load.ts";
import type { ExactRun } from "../../core/runs.ts";
import type { State } from "../../core/state.ts";
import { memo } from "../../maths/memo.ts";
import type { Numbers } from "../../maths/numbers.ts";
import { type Bars, barsOf } from "./bars.ts";
import { type Matrix, matrixOf } from "./matrix_data.ts";
import { coversAll, type Shares, sharesOf } from "./shares.ts";
import { type Spine, spineNeeds, spineOf } from "./spine.ts";
import { type Table, tableNeeds, tablesOf } from "./table.ts";
import { type Track, trackNeeds, tracksOf } from "./tracks.ts";

export interface Facts {
  /** The run behind the picture; null where an estimate is shown. */
  run: ExactRun | null;
  tables: BySide<Table | null>;
  bars: Bars;
  matrix: Matrix | null;
  spine: Spine | null;
  tracks: Track[];
  /** Where they are shown: summing them takes a while. */
  shares: Shares | null;
  /** Whether the instruction is all there is beside the template. */
  covers: boolean;
  disagreement: Numbers | null;
  alternatives: BySide<Alternatives> | null;
}

export function factNeeds(state: State, run: ExactRun | null, got: Got): Need[] {
  const unit = unitOf(state);
  return [
    ...tableNeeds(state, run, got),
    ...trackNeeds(state),
    ...spineNeeds(state),
    // Beside the picture: a page may have left them out.
    ...quiet(
      ...(state.manifest.shared ? [keys.disagreement()] : []),
      ...SIDES.map((side) => keys.alternatives(side)),
      ...(unit === "token" ? [] : [keys.groups(unit)]),
    ),
  ];
}

/** Facts of one state after another; what does not follow from the selection is made once. */
export function factMaker(): (state: State, run: ExactRun | null, got: Got) => Facts {
  const matrix = memo<Matrix | null>();
  const spine = memo<Spine | null>();
  return (state, run, got) => {
    const tables = tablesOf(state, run, got);
    const { hideTemplate, showShares } = state.options.saliency;
    const whole = SIDES.every((side) => tables[side]?.width === state.answer(side).tokens.length);
    const parts = [...SIDES.map((side) => tables[side]), state.segments, hideTemplate];
    const said = [
      got(keys.answerSteps()).value,
      ...SIDES.map((side) => got(keys.logprob(side)).value),
    ];
    return {
      run,
      tables,
      bars: barsOf(state, tables),
      matrix: matrix([...parts, whole || state.selection.token], () => matrixOf(state, tables)),
      spine: spine(said, () => spineOf(state, got)),
      tracks: tracksOf(state, got),
      shares: showShares
        ? sharesOf(state, tables, got(keys.groups(unitOf(state))).value ?? null)
        : null,
      covers: SIDES.some((side) => tables[side]) && coversAll(state),
      disagreement: got(keys.disagreement()).value?.data ?? null,
      alternatives: both(got, keys.alternatives),
    };
  };
}

/** What has one effect: a token, or a group of tokens. */
function unitOf(state: State): string {
  return state.method?.unit ?? "token";
}
