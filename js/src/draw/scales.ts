// Colours: mixing, scales.

export type Rgb = readonly [number, number, number];

export function rgb(hex: string): Rgb {
  const value = Number.parseInt(hex.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

export function css([r, g, b]: Rgb): string {
  return `rgb(${r} ${g} ${b})`;
}

export function mix(from: Rgb, to: Rgb, share: number): Rgb {
  const t = Math.min(Math.max(share, 0), 1);
  const blend = (i: 0 | 1 | 2) => Math.round(from[i] + (to[i] - from[i]) * t);
  return [blend(0), blend(1), blend(2)];
}
