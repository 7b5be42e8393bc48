/** What a `<script>` tag makes of this client, the global `tidewire`; as a SharedWorker, its host. */
import { serveTabs } from "./tabs.js";

export * from "./index.js";
export { connectShared } from "./tabs.js";
export { upload } from "./upload.js";

declare const SharedWorkerGlobalScope: (new () => Parameters<typeof serveTabs>[0]) | undefined;

if (typeof SharedWorkerGlobalScope !== "undefined") {
  serveTabs(globalThis as unknown as Parameters<typeof serveTabs>[0]);
}
