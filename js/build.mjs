// Builds the front end into the Python package: the entries and their style sheets.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build, context } from "esbuild";
import { minifySync } from "rolldown/utils";
import { kernel } from "./wasm/compile.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const common = {
  bundle: true,
  minify: true,
  metafile: true,
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  outdir: here("../widgets/twinlens/static"),
  logLevel: "info",
};
await kernel();
const jobs = [
  {
    ...common,
    format: "esm",
    entryPoints: [here("src/entry/explorer.ts"), here("src/entry/panel.ts")],
  },
  {
    ...common,
    format: "iife",
    entryPoints: ["page", "notebook", "report", "drawing", "live", "viewer"].map((name) =>
      here(`src/entry/${name}.ts`),
    ),
  },
  {
    ...common,
    format: "iife",
    entryPoints: [here("src/entry/worker.ts")],
    alias: {
      "kernel.wasm": here("wasm/built/kernel.wasm"),
      "fused.wasm": here("wasm/built/fused.wasm"),
    },
    loader: { ".wasm": "binary" },
  },
  {
    ...common,
    entryPoints: {
      live: here("src/styles/live.css"),
      twinlens: here("src/styles/index.css"),
      report: here("src/styles/report.css"),
    },
  },
];

if (process.argv.includes("--watch")) {
  for (const job of jobs) await (await context(job)).watch();
} else {
  const built = await Promise.all(jobs.map(build));
  for (const path of built.flatMap(({ metafile }) => Object.keys(metafile.outputs))) {
    if (path.endsWith(".js")) rename(path);
  }
}

/** Shorter expressions, and names given by how often they stand: a script packs 5 % shorter. */
function rename(path) {
  const { code, errors } = minifySync(path, readFileSync(path, "utf8"), {
    compress: {
      target: "es2022",
      treeshake: { propertyReadSideEffects: false, unknownGlobalSideEffects: false },
    },
  });
  if (errors.length) throw new Error(`${path}: ${errors[0].message}`);
  writeFileSync(path, code);
}
