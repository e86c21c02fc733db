// What a forward pass spends its time in, in WebAssembly SIMD. AssemblyScript, compiled by build.mjs.
//
// Pointers are bytes, lengths are numbers. Buffers of rows have room for four more: what is computed
// there means nothing.

export { draw, move, seed } from "./draws";

const LOWEST: f32 = -3.4028234663852886e38;
/** 1.5 times 2 to the power of 23. */
const LARGE: f32 = 12582912;

// @ts-ignore: a decorator of AssemblyScript
@inline
function madd(a: v128, b: v128, c: v128): v128 {
  // One step where the browser has it, and rounded once.
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/**
 * y[rows, columns] = x[rows, inner] times weights that lie in panels [columns / 8][inner][8].
 *
 * Sixes and fives of rows, as many of each as leave none over.
 */
export function matmul(
  x: usize,
  weights: usize,
  y: usize,
  rows: i32,
  inner: i32,
  columns: i32,
): void {
  const step = <usize>inner << 2;
  const width = <usize>columns << 2;
  for (let n = 0; n < columns; n += 8) {
    let left = rows;
    let p = x;
    let q = y + (<usize>n << 2);
    while (left > 0) {
      const six = left % 6 == 0;
      if (six) rowsOfSix(p, step, weights, q, width);
      else rowsOfFive(p, step, weights, q, width);
      const done: i32 = six ? 6 : 5;
      left -= done;
      p += <usize>done * step;
      q += <usize>done * width;
    }
    weights += 8 * step;
  }
}

/** Eight columns of six rows: as many sums as a processor of today holds in its registers. */
function rowsOfSix(x: usize, step: usize, w: usize, y: usize, width: usize): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let d0 = f32x4.splat(0);
  let d1 = f32x4.splat(0);
  let e0 = f32x4.splat(0);
  let e1 = f32x4.splat(0);
  let f0 = f32x4.splat(0);
  let f1 = f32x4.splat(0);
  const end = x + step;
  while (x < end) {
    const w0 = v128.load(w);
    const w1 = v128.load(w, 16);
    let s = v128.load32_splat(x);
    a0 = madd(s, w0, a0);
    a1 = madd(s, w1, a1);
    s = v128.load32_splat(x + step);
    b0 = madd(s, w0, b0);
    b1 = madd(s, w1, b1);
    s = v128.load32_splat(x + 2 * step);
    c0 = madd(s, w0, c0);
    c1 = madd(s, w1, c1);
    s = v128.load32_splat(x + 3 * step);
    d0 = madd(s, w0, d0);
    d1 = madd(s, w1, d1);
    s = v128.load32_splat(x + 4 * step);
    e0 = madd(s, w0, e0);
    e1 = madd(s, w1, e1);
    s = v128.load32_splat(x + 5 * step);
    f0 = madd(s, w0, f0);
    f1 = madd(s, w1, f1);
    x += 4;
    w += 32;
  }
  v128.store(y, a0);
  v128.store(y, a1, 16);
  y += width;
  v128.store(y, b0);
  v128.store(y, b1, 16);
  y += width;
  v128.store(y, c0);
  v128.store(y, c1, 16);
  y += width;
  v128.store(y, d0);
  v128.store(y, d1, 16);
  y += width;
  v128.store(y, e0);
  v128.store(y, e1, 16);
  y += width;
  v128.store(y, f0);
  v128.store(y, f1, 16);
}

function rowsOfFive(x: usize, step: usize, w: usize, y: usize, width: usize): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let d0 = f32x4.splat(0);
  let d1 = f32x4.splat(0);
  let e0 = f32x4.splat(0);
  let e1 = f32x4.splat(0);
  const end = x + step;
  while (x < end) {
    const w0 = v128.load(w);
    const w1 = v128.load(w, 16);
    let s = v128.load32_splat(x);
    a0 = madd(s, w0, a0);
    a1 = madd(s, w1, a1);
    s = v128.load32_splat(x + step);
    b0 = madd(s, w0, b0);
    b1 = madd(s, w1, b1);
    s = v128.load32_splat(x + 2 * step);
    c0 = madd(s, w0, c0);
    c1 = madd(s, w1, c1);
    s = v128.load32_splat(x + 3 * step);
    d0 = madd(s, w0, d0);
    d1 = madd(s, w1, d1);
    s = v128.load32_splat(x + 4 * step);
    e0 = madd(s, w0, e0);
    e1 = madd(s, w1, e1);
    x += 4;
    w += 32;
  }
  v128.store(y, a0);
  v128.store(y, a1, 16);
  y += width;
  v128.store(y, b0);
  v128.store(y, b1, 16);
  y += width;
  v128.store(y, c0);
  v128.store(y, c1, 16);
  y += width;
  v128.store(y, d0);
  v128.store(y, d1, 16);
  y += width;
  v128.store(y, e0);
  v128.store(y, e1, 16);
}

/** x += y, numbers by a multiple of four. */
export function add(x: usize, y: usize, count: i32): void {
  const end = x + (<usize>count << 2);
  while (x < end) {
    v128.store(x, f32x4.add(v128.load(x), v128.load(y)));
    x += 16;
    y += 16;
  }
}

// @ts-ignore: a decorator of AssemblyScript
@inline
function sumOf(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) +
    f32x4.extract_lane(v, 1) +
    (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  );
}

/** Each row of x [rows, width] by its root mean square, times the gain. */
export function rmsnorm(x: usize, gain: usize, y: usize, rows: i32, width: i32, eps: f32): void {
  const step = <usize>width << 2;
  for (let t = 0; t < rows; t++) {
    let squares = f32x4.splat(0);
    for (let i: usize = 0; i < step; i += 16) {
      const v = v128.load(x + i);
      squares = madd(v, v, squares);
    }
    const scale = f32x4.splat(<f32>1 / Mathf.sqrt(sumOf(squares) / <f32>width + eps));
    for (let i: usize = 0; i < step; i += 16) {
      v128.store(y + i, f32x4.mul(f32x4.mul(v128.load(x + i), scale), v128.load(gain + i)));
    }
    x += step;
    y += step;
  }
}

/** e to the power of four numbers, to the last digit or two; 0 far below. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function exp4(x: v128): v128 {
  const clipped = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-87)), f32x4.splat(88));
  // So large a number leaves no room for a fraction: n stands in its last bits.
  const shifted = f32x4.add(f32x4.mul(clipped, f32x4.splat(1.44269504088896341)), f32x4.splat(LARGE));
  const n = f32x4.sub(shifted, f32x4.splat(LARGE));
  let r = f32x4.sub(clipped, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.sub(r, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  let p = f32x4.splat(1.9875691500e-4);
  p = madd(p, r, f32x4.splat(1.3981999507e-3));
  p = madd(p, r, f32x4.splat(8.3334519073e-3));
  p = madd(p, r, f32x4.splat(4.1665795894e-2));
  p = madd(p, r, f32x4.splat(1.6666665459e-1));
  p = madd(p, r, f32x4.splat(5.0000001201e-1));
  p = f32x4.add(madd(p, f32x4.mul(r, r), r), f32x4.splat(1));
  const power = i32x4.add(i32x4.shl(shifted, 23), i32x4.splat(127 << 23));
  return v128.and(f32x4.mul(p, power), f32x4.ge(x, f32x4.splat(-87)));
}

/** gate = gate * sigmoid(gate) * up. */
export function silu(gate: usize, up: usize, count: i32): void {
  const unit = f32x4.splat(1);
  const end = gate + (<usize>count << 2);
  while (gate < end) {
    const g = v128.load(gate);
    const sigmoid = f32x4.div(unit, f32x4.add(unit, exp4(f32x4.neg(g))));
    v128.store(gate, f32x4.mul(f32x4.mul(g, sigmoid), v128.load(up)));
    gate += 16;
    up += 16;
  }
}

/** Turn halves of each head against each other; tables [positions, size / 2], from `first` on. */
export function rotate(
  x: usize,
  cos: usize,
  sin: usize,
  first: i32,
  rows: i32,
  heads: i32,
  size: i32,
): void {
  const half = <usize>size << 1;
  cos += <usize>first * half;
  sin += <usize>first * half;
  for (let t = 0; t < rows; t++) {
    for (let h = 0; h < heads; h++) {
      for (let i: usize = 0; i < half; i += 16) {
        const c = v128.load(cos + i);
        const s = v128.load(sin + i);
        const a = v128.load(x + i);
        const b = v128.load(x + half + i);
        v128.store(x + i, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
        v128.store(x + half + i, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
      }
      x += 2 * half;
    }
    cos += half;
    sin += half;
  }
}

/** Keep keys as [heads][size][room] and values as [heads][room][size], from `first` on. */
export function keep(
  keys: usize,
  values: usize,
  keptKeys: usize,
  keptValues: usize,
  first: i32,
  rows: i32,
  heads: i32,
  size: i32,
  room: i32,
): void {
  for (let t = 0; t < rows; t++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < size; i++) {
        const at = <usize>((h * size + i) * room + first + t) << 2;
        store<f32>(keptKeys + at, load<f32>(keys + (<usize>i << 2)));
      }
      const to = keptValues + (<usize>((h * room + first + t) * size) << 2);
      memory.copy(to, values, <usize>size << 2);
      keys += <usize>size << 2;
      values += <usize>size << 2;
    }
  }
}

/**
 * Outputs of all heads where rows stand, from `first` on; each sees what stands before it.
 *
 * Patterns are left at `weights`, row by row and head by head as far apart as is said. `hidden`
 * holds 0 or `LOWEST` for every position: no other row looks at the latter.
 */
export function attention(
  queries: usize,
  keys: usize,
  values: usize,
  hidden: usize,
  weights: usize,
  ofHead: i32,
  ofRow: i32,
  out: usize,
  first: i32,
  rows: i32,
  heads: i32,
  shared: i32,
  size: i32,
  room: i32,
  scale: f32,
): void {
  const bytes = <usize>size << 2;
  for (let t = 0; t < rows; t++) {
    const position = first + t;
    const seen = <usize>(position + 1) << 2;
    const blocks = (seen + 63) & ~63;
    const own = load<f32>(hidden + (<usize>position << 2));
    store<f32>(hidden + (<usize>position << 2), 0);
    for (let h = 0; h < heads; h++) {
      const group = <usize>(h / shared);
      const query = queries + <usize>(t * heads + h) * bytes;
      const row = weights + (<usize>(h * ofHead + t * ofRow) << 2);
      const k = keys + group * bytes * <usize>room;
      for (let j: usize = 0; j < blocks; j += 64) {
        let a = f32x4.splat(0);
        let b = f32x4.splat(0);
        let c = f32x4.splat(0);
        let d = f32x4.splat(0);
        let p = k + j;
        for (let i: usize = 0; i < bytes; i += 4) {
          const q = v128.load32_splat(query + i);
          a = madd(q, v128.load(p), a);
          b = madd(q, v128.load(p, 16), b);
          c = madd(q, v128.load(p, 32), c);
          d = madd(q, v128.load(p, 48), d);
          p += <usize>room << 2;
        }
        const s = f32x4.splat(scale);
        v128.store(row + j, madd(a, s, v128.load(hidden + j)));
        v128.store(row + j, madd(b, s, v128.load(hidden + j, 16)), 16);
        v128.store(row + j, madd(c, s, v128.load(hidden + j, 32)), 32);
        v128.store(row + j, madd(d, s, v128.load(hidden + j, 48)), 48);
      }
      for (let j = seen; j < blocks; j += 4) store<f32>(row + j, LOWEST);
      softmax(row, blocks);
      const v = values + group * bytes * <usize>room;
      const to = out + <usize>(t * heads + h) * bytes;
      for (let i: usize = 0; i < bytes; i += 64) {
        let a = f32x4.splat(0);
        let b = f32x4.splat(0);
        let c = f32x4.splat(0);
        let d = f32x4.splat(0);
        let p = v + i;
        for (let j: usize = 0; j < seen; j += 4) {
          const w = v128.load32_splat(row + j);
          a = madd(w, v128.load(p), a);
          b = madd(w, v128.load(p, 16), b);
          c = madd(w, v128.load(p, 32), c);
          d = madd(w, v128.load(p, 48), d);
          p += bytes;
        }
        v128.store(to + i, a);
        v128.store(to + i, b, 16);
        v128.store(to + i, c, 32);
        v128.store(to + i, d, 48);
      }
    }
    store<f32>(hidden + (<usize>position << 2), own);
  }
}

function softmax(row: usize, bytes: usize): void {
  const most = f32x4.splat(largest(row, bytes));
  let total = f32x4.splat(0);
  for (let j: usize = 0; j < bytes; j += 16) {
    const e = exp4(f32x4.sub(v128.load(row + j), most));
    v128.store(row + j, e);
    total = f32x4.add(total, e);
  }
  const scale = f32x4.splat(<f32>1 / sumOf(total));
  for (let j: usize = 0; j < bytes; j += 16) {
    v128.store(row + j, f32x4.mul(v128.load(row + j), scale));
  }
}

function largest(row: usize, bytes: usize): f32 {
  let most = f32x4.splat(LOWEST);
  for (let j: usize = 0; j < bytes; j += 16) most = f32x4.pmax(most, v128.load(row + j));
  return max<f32>(
    max<f32>(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
    max<f32>(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
  );
}

/** Logarithm of the sum of e to the power of the first `count` numbers of a row. */
export function logSumExp(row: usize, count: i32): f32 {
  const whole = <usize>(count & ~3) << 2;
  const bytes = <usize>count << 2;
  let most = largest(row, whole);
  for (let j = whole; j < bytes; j += 4) most = max<f32>(most, load<f32>(row + j));
  let total = f32x4.splat(0);
  for (let j: usize = 0; j < whole; j += 16) {
    total = f32x4.add(total, exp4(f32x4.sub(v128.load(row + j), f32x4.splat(most))));
  }
  let sum = sumOf(total);
  for (let j = whole; j < bytes; j += 4) sum += Mathf.exp(load<f32>(row + j) - most);
  return most + Mathf.log(sum);
}
