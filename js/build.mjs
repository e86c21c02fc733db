// Builds the front end into the Python package: the entries and their style sheets.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, context } from "esbuild";
import { minifySync, parseSync } from "rolldown/utils";
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
  writeFileSync(path, path.endsWith("/page.js") ? ordered(code) : code);
}

/**
 * Functions first, which may stand anywhere, and each beside others that look like it: what is
 * packed is looked for in the 32 kB before it. Tried in the same way every time.
 */
function ordered(code) {
  // Each hundred takes most of a second, and a page is 100 bytes smaller for it.
  const tries = 1000;
  const { callee } = parseSync("page.js", code).program.body.at(-1).expression;
  const { body } = (callee.expression ?? callee).body;
  const texts = (functions) =>
    body
      .filter(({ type }) => (type === "FunctionDeclaration") === functions)
      .map(({ start, end }) => code.slice(start, end));
  const rest = texts(false).join("");
  const whole = (functions) =>
    code.slice(0, body[0].start) + functions.join("") + rest + code.slice(body.at(-1).end);
  const size = (functions) => gzipSync(whole(functions), { level: 9, memLevel: 9 }).length;
  let seed = 1;
  const below = (count) => {
    seed = (seed * 48271) % 2147483647;
    return seed % count;
  };
  let best = texts(true);
  let least = size(best);
  for (let i = 0; i < tries; i++) {
    const tried = [...best];
    // Whole runs at first, later one by one.
    const most = i < 200 ? 16 : i < 400 ? 4 : 1;
    const moved = tried.splice(below(tried.length), 1 + below(most));
    tried.splice(below(tried.length + 1), 0, ...moved);
    const now = size(tried);
    if (now < least) [best, least] = [tried, now];
  }
  return whole(best);
}
