import { type MaybeRefOrGetter, onScopeDispose, type Ref, shallowRef, toValue, watch } from "vue";
import type { ClientState } from "./client.js";
import type { Delivery } from "./envelope.js";
import type { TidewireError } from "./errors.js";
import type { FullClient as Client, SubscribeOptions } from "./full/client.js";

export interface UseChannelOptions extends SubscribeOptions {
  /** How many of the newest messages to keep; 100 if not given. */
  readonly keep?: number;
}

export interface UseChannel<T> {
  /** The newest messages, oldest first. */
  readonly messages: Readonly<Ref<readonly Delivery<T>[]>>;
  readonly state: Readonly<Ref<ClientState>>;
  /** Why the channel does not come, if the server refuses it. */
  readonly error: Readonly<Ref<TidewireError | undefined>>;
}

/** What comes on a channel for as long as the scope lives. Messages of one turn change it once. */
export function useChannel<T = unknown>(
  client: Client,
  channel: MaybeRefOrGetter<string>,
  { keep = 100, ...options }: UseChannelOptions = {},
): UseChannel<T> {
  const messages = shallowRef<readonly Delivery<T>[]>([]);
  const error = shallowRef<TidewireError>();
  watch(
    () => toValue(channel),
    (name, _, onCleanup) => {
      let waiting: Delivery<T>[] = [];
      messages.value = [];
      error.value = undefined;
      const show = () => {
        const news = waiting;
        waiting = [];
        messages.value = [...messages.value, ...news].slice(-keep);
      };
      let current = true;
      const subscription = client.subscribe<T>(
        name,
        (message) => {
          if (waiting.push(message) === 1) client.env.defer(() => current && show());
        },
        options,
      );
      subscription.ready.catch((reason) => {
        if (current) error.value = reason;
      });
      onCleanup(() => {
        current = false;
        subscription.unsubscribe();
      });
    },
    { immediate: true },
  );
  return { messages, state: useConnection(client), error };
}

/** The state of the client's connection. */
export function useConnection(client: Client): Readonly<Ref<ClientState>> {
  const state = shallowRef<ClientState>(client.state);
  onScopeDispose(
    client.on("state", (value) => {
      state.value = value;
    }),
  );
  return state;
}
