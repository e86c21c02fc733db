// What every tab of the layers has in common.

import type { Got, Need } from "../../core/load.ts";
import type { OverviewTab } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import type { Picture, Row } from "../../shell/frame.ts";

/** One way to look at the layers; `needs` and `picture` are those of a panel. */
export interface View {
  name: OverviewTab;
  label: string;
  el: HTMLElement;
  needs(state: State, got: Got): readonly Need[];
  picture(state: State, got: Got): Picture;
}

/** Columns of equal length as rows, for a file. */
export function inColumns(columns: Record<string, readonly number[]>): Row[] {
  const [first = []] = Object.values(columns);
  const rows = first.map((_, i) => Object.values(columns).map((column) => column[i]!));
  return [Object.keys(columns), ...rows];
}
