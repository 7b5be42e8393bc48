import { type ClientOptions, FullClient } from "./full/client.js";

export type { ClientEvents, ClientState, TransportName } from "./client.js";
export type { GetToken } from "./credentials.js";
export type { Delivery as Message, Gap, Receipt } from "./envelope.js";
export type { Environment } from "./environment.js";
export { type FailureKind, TidewireError } from "./errors.js";
export type {
  ClientOptions,
  FullClient as Client,
  HistoryOptions,
  IterateOptions,
  Member,
  Page,
  Presence,
  PresenceOptions,
  SubscribeOptions,
} from "./full/client.js";
export type { PublishOptions } from "./full/outbox.js";
export type { Handler, Subscription } from "./subscription.js";

/**
 * A client of the server at `url`, path prefix included. It connects when something is subscribed
 * to, and stays connected until it is closed.
 */
export function connect(url: string, options: ClientOptions = {}): FullClient {
  return new FullClient(url, options);
}
