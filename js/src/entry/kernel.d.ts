/** The compiled kernel, as build.mjs puts it in. */
declare module "kernel.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}

/** The same for browsers that multiply and add in one step. */
declare module "fused.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
