// Compiles the kernel; what was compiled before stays as long as its source does.
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const OPTIONS = "--enable simd --optimizeLevel 3 --converge --noAssert --runtime stub".split(" ");

/** Bytes of the module. */
export async function kernel() {
  const age = (path) => statSync(here(path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (age("built/kernel.wasm") <= age("kernel.ts")) {
    mkdirSync(here("built"), { recursive: true });
    const files = ["kernel.ts", "--baseDir", here("."), "--outFile", "built/kernel.wasm"];
    const { error, stderr } = await asc.main([...files, ...OPTIONS]);
    if (error) throw new Error(stderr.toString());
  }
  return readFileSync(here("built/kernel.wasm"));
}
