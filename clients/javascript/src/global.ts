/** What a `<script>` tag makes of this client: the global `tidewire`. */
export * from "./index.js";
