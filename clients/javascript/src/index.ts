import { Client, type ClientOptions } from "./client.js";

export type {
  Client,
  ClientEvents,
  ClientOptions,
  ClientState,
  HistoryOptions,
  IterateOptions,
  Member,
  Page,
  Presence,
  PresenceOptions,
  SubscribeOptions,
  TransportName,
} from "./client.js";
export type { GetToken } from "./credentials.js";
export type { Gap, Message, Receipt } from "./envelope.js";
export type { Environment } from "./environment.js";
export { type FailureKind, TidewireError } from "./errors.js";
export type { PublishOptions } from "./outbox.js";
export type { Handler, Subscription } from "./subscription.js";

/**
 * A client of the server at `url`, path prefix included. It connects when something is subscribed
 * to, and stays connected until it is closed.
 */
export function connect(url: string, options: ClientOptions = {}): Client {
  return new Client(url, options);
}
