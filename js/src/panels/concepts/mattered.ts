// Which units mattered at the selected token: estimated at once, then measured.

import { type BySide, keys, type UnitEffect } from "../../contract/contract.ts";
import { attempt, type Got, type Need, quiet } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import type { PanelSetting } from "../../shell/frame.ts";

export interface Mattered {
  measured: boolean;
  /** What the token loses without a unit where it is read, nats. */
  effects: ReadonlyMap<string, BySide<number | undefined>>;
}

/** Milliseconds for which a token stays selected before the models work on it. */
const PAUSE = 300;

/** What is recorded, or was asked for before. */
export function matteredNeeds(state: State, layer: number): Need[] {
  const { token } = state.selection;
  const key = keys.unitEffects(layer, token);
  return token >= 0 && state.has(key) ? quiet(key) : [];
}

/**
 * Of a layer, at the selected token; null while nothing is known. With models the estimate comes
 * first, and the panel runs again for either; what is no longer looked at is stopped.
 */
export function matteredOf({
  store,
  signal,
  refresh,
}: PanelSetting): (state: State, got: Got, layer: number) => Mattered | null {
  let run: { place: string; stop: AbortController; found: Mattered | null } | null = null;

  const start = async (layer: number, token: number) => {
    const mine = { place: `${layer}/${token}`, stop: new AbortController(), found: null };
    const now: NonNullable<typeof run> = mine;
    run?.stop.abort();
    run = now;
    const both = AbortSignal.any([signal, now.stop.signal]);
    const ask = async (measured: boolean) => {
      const key = (measured ? keys.unitEffects : keys.unitEstimates)(layer, token);
      const { value } = await attempt({ signal: both }, store.block(key, both));
      if (!value) return;
      now.found = foundIn(value, measured);
      refresh();
    };
    // What is quick comes first, and who steps along the tokens asks for none of it.
    await new Promise((done) => setTimeout(done, PAUSE));
    both.throwIfAborted();
    await ask(false);
    await ask(true);
  };

  return (state, got, layer) => {
    const { token } = state.selection;
    if (token < 0) return null;
    const key = keys.unitEffects(layer, token);
    const known = got(key).value;
    if (known) return foundIn(known, true);
    if (!state.live || state.lacks(key)) return null;
    if (run?.place !== `${layer}/${token}`) start(layer, token).catch(() => {}); // stopped
    return run!.found;
  };
}

function foundIn(rows: readonly UnitEffect[], measured: boolean): Mattered {
  const effects = rows.map(
    ({ unit, base, tuned }) =>
      [unit, { base: base ?? undefined, tuned: tuned ?? undefined }] as const,
  );
  return { measured, effects: new Map(effects) };
}
