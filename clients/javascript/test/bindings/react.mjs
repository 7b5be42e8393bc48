/** A component as an application has it; `window.app` lets the test lead it. */
import { createElement as h, StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { connect } from "../../dist/index.js";
import { useChannel } from "../../dist/react.js";

const client = connect(location.origin, { environment: { storage: undefined } });
client.on("error", () => {});

function Channel({ name }) {
  const { messages, state, error } = useChannel(client, name, { since: "-2", keep: 3 });
  return h(
    "p",
    null,
    `${name} ${error?.code ?? state.status}: ${messages.map(({ data }) => data).join()}`,
  );
}

function App() {
  const [name, show] = useState("a");
  window.app.show = show;
  return name && h(Channel, { name });
}

window.app = { client };
const root = document.createElement("main");
document.body.replaceChildren(root);
createRoot(root).render(h(StrictMode, null, h(App)));
