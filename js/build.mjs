// Builds the front end into the Python package: the entries and their style sheets.
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipAsync } from "@gfx/zopfli";
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
    format: "esm",
    entryPoints: [here("src/entry/explorer.ts"), here("src/entry/panel.ts")],
  },
  {
    format: "iife",
    entryPoints: ["page", "notebook", "report", "drawing", "live", "viewer"].map((name) =>
      here(`src/entry/${name}.ts`),
    ),
  },
  {
    format: "iife",
    entryPoints: [here("src/entry/worker.ts")],
    alias: {
      "kernel.wasm": here("wasm/built/kernel.wasm"),
      "fused.wasm": here("wasm/built/fused.wasm"),
    },
    loader: { ".wasm": "binary" },
  },
  {
    entryPoints: {
      live: here("src/styles/live.css"),
      twinlens: here("src/styles/index.css"),
      report: here("src/styles/report.css"),
    },
  },
];

/** Files that travel inside others, which hold them packed. */
const PACKED = ["explorer.js", "page.js"];
const finish = {
  name: "finish",
  setup: ({ onEnd }) =>
    onEnd(async ({ metafile }) => {
      for (const path of Object.keys(metafile?.outputs ?? {})) {
        if (path.endsWith(".js")) await finished(path);
      }
    }),
};

for (const job of jobs) {
  const options = { ...common, ...job, plugins: [finish] };
  if (process.argv.includes("--watch")) await (await context(options)).watch();
  else await build(options);
}

/**
 * Shorter expressions, and names given by how often they stand: a script packs 5 % shorter;
 * by zopfli, which is gzip that looks for longer, 3 % more.
 */
async function finished(path) {
  const { code, errors } = minifySync(path, readFileSync(path, "utf8"), {
    compress: {
      target: "es2022",
      treeshake: { propertyReadSideEffects: false, unknownGlobalSideEffects: false },
    },
  });
  if (errors.length) throw new Error(`${path}: ${errors[0].message}`);
  writeFileSync(path, code);
  if (PACKED.includes(basename(path))) {
    writeFileSync(`${path}.gz`, await gzipAsync(code, { numiterations: 15 }));
  }
}
