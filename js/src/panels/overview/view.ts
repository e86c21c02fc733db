// What every tab of the layers has in common.

import type { Got, Need } from "../../core/load.ts";
import type { OverviewTab } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import type { Picture } from "../../shell/frame.ts";

/** One way to look at the layers; `needs` and `picture` are those of a panel. */
export interface View {
  name: OverviewTab;
  label: string;
  el: HTMLElement;
  needs(state: State, got: Got): readonly Need[];
  picture(state: State, got: Got): Picture;
}
