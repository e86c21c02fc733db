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
      const some = nextRows(left);
      panel(some, p, step, step, weights, q, width);
      left -= some;
      p += <usize>some * step;
      q += <usize>some * width;
    }
    weights += 8 * step;
  }
}

/** How many rows are next: six, or five where six would leave some over. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function nextRows(left: i32): i32 {
  return left % 6 == 0 ? 6 : 5;
}

/** Eight columns of some rows, `step` apart in x and `width` apart in y. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function panel(
  rows: i32,
  x: usize,
  inner: usize,
  step: usize,
  w: usize,
  y: usize,
  width: usize,
): void {
  if (rows == 6) sixRows(x, inner, step, w, y, width);
  else fiveRows(x, inner, step, w, y, width);
}

function sixRows(x: usize, inner: usize, step: usize, w: usize, y: usize, width: usize): void {
  sums(true, x, inner, step, w, y, width);
}

function fiveRows(x: usize, inner: usize, step: usize, w: usize, y: usize, width: usize): void {
  sums(false, x, inner, step, w, y, width);
}

/** Six rows have as many sums as a processor of today holds in its registers. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function sums(
  six: bool,
  x: usize,
  inner: usize,
  step: usize,
  w: usize,
  y: usize,
  width: usize,
): void {
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
  const end = x + inner;
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
    if (six) {
      s = v128.load32_splat(x + 5 * step);
      f0 = madd(s, w0, f0);
      f1 = madd(s, w1, f1);
    }
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
  if (six) {
    y += width;
    v128.store(y, f0);
    v128.store(y, f1, 16);
  }
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
  const shifted = madd(clipped, f32x4.splat(1.44269504088896341), f32x4.splat(LARGE));
  const n = f32x4.sub(shifted, f32x4.splat(LARGE));
  let r = madd(n, f32x4.splat(-0.693359375), clipped);
  r = madd(n, f32x4.splat(2.12194440e-4), r);
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
    const below = f32x4.add(unit, exp4(f32x4.neg(g)));
    v128.store(gate, f32x4.div(f32x4.mul(g, v128.load(up)), below));
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

/**
 * Keep keys and values from `first` on as `panel` reads them: keys as [heads][room / 8][size][8],
 * values as [heads][size / 8][room][8].
 */
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
  for (let position = first; position < first + rows; position++) {
    for (let h = 0; h < heads; h++) {
      const head = h * size * room;
      for (let i = 0; i < size; i++) {
        const at = head + ((position & ~7) * size + i * 8 + (position & 7));
        store<f32>(keptKeys + (<usize>at << 2), load<f32>(keys));
        keys += 4;
      }
      for (let i = 0; i < size; i += 8) {
        const to = keptValues + (<usize>(head + i * room + position * 8) << 2);
        v128.store(to, v128.load(values));
        v128.store(to, v128.load(values, 16), 16);
        values += 32;
      }
    }
  }
}

/**
 * Outputs of all heads where rows stand, from `first` on; each sees what stands before it.
 *
 * Patterns are left at `weights`, [heads][rows][room], if `leavesPatterns`. `hidden` holds 0 or
 * `LOWEST` for every position: no other row looks at the latter.
 */
export function attention(
  queries: usize,
  keys: usize,
  values: usize,
  hidden: usize,
  weights: usize,
  leavesPatterns: bool,
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
  const step = <usize>heads * bytes;
  const width = <usize>room << 2;
  for (let h = 0; h < heads; h++) {
    const group = <usize>(h / shared) * bytes * <usize>room;
    let q = queries + <usize>h * bytes;
    let to = out + <usize>h * bytes;
    let pattern = weights;
    let left = rows;
    while (left > 0) {
      const some = nextRows(left);
      const real = min(some, left);
      const next = first + rows - left;
      const seen = <usize>(next + real) << 2;
      const columns = (seen + 31) & ~31;
      for (let j: usize = 0; j < columns; j += 32) {
        panel(some, q, bytes, step, keys + group + j * <usize>size, pattern + j, width);
      }
      for (let t = 0; t < real; t++) {
        const row = pattern + <usize>t * width;
        const own = hidden + (<usize>(next + t) << 2);
        const hides = load<f32>(own);
        store<f32>(own, 0);
        for (let j: usize = <usize>(next + t + 1) << 2; j < columns; j += 4) {
          store<f32>(row + j, LOWEST);
        }
        softmax(row, hidden, columns, scale);
        store<f32>(own, hides);
      }
      for (let i: usize = 0; i < bytes; i += 32) {
        panel(some, pattern, seen, width, values + group + i * <usize>room, to + i, step);
      }
      left -= some;
      q += <usize>some * step;
      to += <usize>some * step;
      if (leavesPatterns) pattern += <usize>real * width;
    }
    if (leavesPatterns) weights = pattern;
  }
}

/** Softmax of a row times `scale` with `bias` added. */
function softmax(row: usize, bias: usize, bytes: usize, scale: f32): void {
  let most = f32x4.splat(LOWEST);
  for (let j: usize = 0; j < bytes; j += 16) {
    const v = madd(v128.load(row + j), f32x4.splat(scale), v128.load(bias + j));
    v128.store(row + j, v);
    most = f32x4.pmax(most, v);
  }
  const top = f32x4.splat(largestOf(most));
  let total = f32x4.splat(0);
  for (let j: usize = 0; j < bytes; j += 16) {
    const e = exp4(f32x4.sub(v128.load(row + j), top));
    v128.store(row + j, e);
    total = f32x4.add(total, e);
  }
  const part = f32x4.splat(<f32>1 / sumOf(total));
  for (let j: usize = 0; j < bytes; j += 16) {
    v128.store(row + j, f32x4.mul(v128.load(row + j), part));
  }
}

/** The largest of four numbers. */
// @ts-ignore: a decorator of AssemblyScript
@inline
function largestOf(most: v128): f32 {
  return max<f32>(
    max<f32>(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
    max<f32>(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
  );
}

function largest(row: usize, bytes: usize): f32 {
  let most = f32x4.splat(LOWEST);
  for (let j: usize = 0; j < bytes; j += 16) most = f32x4.pmax(most, v128.load(row + j));
  return largestOf(most);
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
