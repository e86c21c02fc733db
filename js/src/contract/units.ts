// Units of a layer and the position at which they are read, as in Python.

/** Position at which the inside of the models is read for a selected token. */
export function readingPosition(token: number, promptLength: number): number {
  return token >= promptLength ? token - 1 : token;
}

export type UnitKind = "component" | "neuron";

/** Split a unit such as `component:2`; null when nothing is selected or the form is another. */
export function parseUnit(unit: string): { kind: UnitKind; index: number } | null {
  const match = /^(component|neuron):(\d+)$/.exec(unit);
  return match ? { kind: match[1] as UnitKind, index: Number(match[2]) } : null;
}

/** What people call a unit: a component is shown as a concept. */
export function unitName(unit: string): string {
  return unit.replace("component:", "concept ").replace("neuron:", "neuron ");
}
