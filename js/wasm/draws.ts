// Random bits as NumPy draws them: PCG64.
let high: u64 = 0;
let low: u64 = 0;
let addHigh: u64 = 0;
let addLow: u64 = 0;
const TIMES_HIGH: u64 = 0x2360ed051fc65da4;
const TIMES_LOW: u64 = 0x4385df649fccf645;

/** The upper half of a product. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function upper(a: u64, b: u64): u64 {
  const a0 = a & 0xffffffff;
  const a1 = a >> 32;
  const b0 = b & 0xffffffff;
  const b1 = b >> 32;
  const middle = a1 * b0 + ((a0 * b0) >> 32);
  const other = a0 * b1 + (middle & 0xffffffff);
  return a1 * b1 + (middle >> 32) + (other >> 32);
}

function step(): void {
  const top = upper(low, TIMES_LOW) + high * TIMES_LOW + low * TIMES_HIGH;
  const bottom = low * TIMES_LOW;
  low = bottom + addLow;
  high = top + addHigh + u64(low < bottom);
}

/** Begin anew from a state and a sequence of 128 bits each. */
export function seed(stateHigh: u64, stateLow: u64, sequenceHigh: u64, sequenceLow: u64): void {
  addHigh = (sequenceHigh << 1) | (sequenceLow >> 63);
  addLow = (sequenceLow << 1) | 1;
  high = 0;
  low = 0;
  step();
  low += stateLow;
  high += stateHigh + u64(low < stateLow);
  step();
}

/** The next 64 bits. */
export function draw(): u64 {
  step();
  return rotr<u64>(high ^ low, high >> 58);
}

/**
 * A weight of base with a fraction of what tuned adds to it, row by row; `panel` rows of it lie side
 * by side. If `signed`, signs are drawn, most significant bit of each byte first.
 */
export function move(
  base: usize,
  tuned: usize,
  to: usize,
  rows: i32,
  columns: i32,
  panel: i32,
  fraction: f32,
  signed: bool,
): void {
  let bits: u64 = 0;
  let count = 0;
  for (let row = 0; row < rows; row++) {
    let at = <usize>((row - (row % panel)) * columns + (row % panel)) << 2;
    for (let column = 0; column < columns; column++) {
      if ((count & 63) == 0 && signed) bits = draw();
      const bit = (bits >> (((count >> 3) & 7) * 8 + 7 - (count & 7))) & 1;
      const own = load<f32>(base + at);
      const added = fraction * (load<f32>(tuned + at) - own);
      store<f32>(to + at, bit || !signed ? own + added : own - added);
      at += <usize>panel << 2;
      count++;
    }
  }
}
