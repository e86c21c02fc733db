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

// Keys of blocks with the update, or a part of it, times a scale, as in Python.

/** A place of the dial: of all of the update, or of a part such as `layer:3`. */
export function placeOf(scale: number, part: string): string {
  return part ? `${scale}@${part}` : `${scale}`;
}

/** Of a key of any block. */
export function dialled(key: string, place: string): string {
  return `dial/${place}/${key}`;
}

/** What stands behind the scale. */
export function undialled(key: string): string {
  return key.replace(/^dial\/[^/]*\//, "");
}
