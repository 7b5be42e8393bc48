import { useEffect, useRef, useState, useSyncExternalStore } from "react";
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
  readonly messages: readonly Delivery<T>[];
  readonly state: ClientState;
  /** Why the channel does not come, if the server refuses it. */
  readonly error: TidewireError | undefined;
}

/** What comes on a channel while the component is mounted. Messages of one turn render once. */
export function useChannel<T = unknown>(
  client: Client,
  channel: string,
  { keep = 100, since, cursor, consumer }: UseChannelOptions = {},
): UseChannel<T> {
  const [messages, setMessages] = useState<readonly Delivery<T>[]>([]);
  const [error, setError] = useState<TidewireError>();
  const waiting = useRef<Delivery<T>[]>([]);
  useEffect(() => {
    let mounted = true;
    const show = () => {
      const news = waiting.current;
      waiting.current = [];
      if (mounted) setMessages((before) => [...before, ...news].slice(-keep));
    };
    setMessages([]);
    setError(undefined);
    const subscription = client.subscribe<T>(
      channel,
      (message) => {
        if (waiting.current.push(message) === 1) client.env.defer(show);
      },
      { since, cursor, consumer },
    );
    subscription.ready.catch((reason) => mounted && setError(reason));
    return () => {
      mounted = false;
      waiting.current = [];
      subscription.unsubscribe();
    };
  }, [client, channel, keep, since, cursor, consumer]);
  return { messages, state: useConnection(client), error };
}

/** The state of the client's connection. */
export function useConnection(client: Client): ClientState {
  return useSyncExternalStore(
    (changed) => client.on("state", changed),
    () => client.state,
    () => client.state,
  );
}
