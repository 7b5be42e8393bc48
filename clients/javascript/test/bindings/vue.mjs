/** A component as an application has it; `window.app` lets the test lead it. */
import { createApp, h, shallowRef } from "vue";
import { connect } from "../../dist/index.js";
import { useChannel } from "../../dist/vue.js";

const client = connect(location.origin, { environment: { storage: undefined } });
client.on("error", () => {});

const Channel = {
  props: ["name"],
  setup(props) {
    const { messages, state, error } = useChannel(client, () => props.name, {
      since: "-2",
      keep: 3,
    });
    return () => {
      const data = messages.value.map((message) => message.data).join();
      return h("p", `${props.name} ${error.value?.code ?? state.value.status}: ${data}`);
    };
  },
};

const name = shallowRef("a");
window.app = {
  client,
  show: (value) => {
    name.value = value;
  },
};
const root = document.createElement("main");
document.body.replaceChildren(root);
createApp({ render: () => (name.value ? h(Channel, { name: name.value }) : null) }).mount(root);
