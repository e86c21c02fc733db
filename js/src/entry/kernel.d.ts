/** The compiled kernel, as build.mjs puts it in. */
declare module "kernel.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
