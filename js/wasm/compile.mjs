// Compiles the kernel, and declares its functions; what was compiled before stays as long as its
// source and this script do.
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const OPTIONS =
  "--enable simd --optimizeLevel 3 --converge --noAssert --runtime stub --bindings esm".split(" ");
/** For every browser, and for those that multiply and add in one step. */
const MADE = { kernel: [], fused: ["--enable", "relaxed-simd"] };

/** Compile both modules; the bytes of the first. */
export async function kernel() {
  const age = (path) => statSync(here(path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = readdirSync(here(".")).filter((name) => name.endsWith("s"));
  const changed = Math.max(...sources.map(age));
  for (const [name, more] of Object.entries(MADE)) {
    if (age(`built/${name}.wasm`) > changed) continue;
    mkdirSync(here("built"), { recursive: true });
    const files = ["kernel.ts", "--baseDir", here("."), "--outFile", `built/${name}.wasm`];
    const { error, stderr } = await asc.main([...files, ...OPTIONS, ...more]);
    if (error) throw new Error(stderr.toString());
  }
  return readFileSync(here("built/kernel.wasm"));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await kernel();
