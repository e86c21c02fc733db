// The worker of the page that thinks.

import fused from "fused.wasm";
import kernel from "kernel.wasm";
import type { Request } from "../live/messages.ts";
import { serve } from "../live/worker.ts";

const fastest = WebAssembly.validate(fused) ? fused : kernel;
const answer = serve(fastest, (reply) => postMessage(reply));
addEventListener("message", ({ data }) => answer(data as Request));
