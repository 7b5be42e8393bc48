/** What there is to follow channels, and no more: for pages that mind each kilobyte. */
import { Client, type CoreOptions } from "./client.js";

export type {
  Client,
  ClientEvents,
  ClientState,
  CoreOptions as ClientOptions,
  FollowOptions as SubscribeOptions,
  TransportName,
} from "./client.js";
export type { GetToken } from "./credentials.js";
export type { Gap, Message } from "./envelope.js";
export type { Environment } from "./environment.js";
export { type FailureKind, TidewireError } from "./errors.js";
export type { Handler, Subscription } from "./subscription.js";

/**
 * A client of the server at `url`, path prefix included. It connects when something is subscribed
 * to, and stays connected until it is closed.
 */
export function connect(url: string, options: CoreOptions = {}): Client {
  return new Client(url, options);
}
