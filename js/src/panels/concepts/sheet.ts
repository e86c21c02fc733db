// What every tab beside the words has in common.

import type { Got, Need } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import type { Picture } from "../../shell/frame.ts";
import type { Concepts } from "./data.ts";

/** One of the tabs; what it needs and shows is said as by a panel, of the shown layer. */
export interface Sheet {
  el: HTMLElement;
  /** Whether it shows one layer, to step through. */
  layered: boolean;
  needs(state: State, got: Got, layer: number): readonly Need[];
  picture(state: State, got: Got, concepts: Concepts): Picture;
}
