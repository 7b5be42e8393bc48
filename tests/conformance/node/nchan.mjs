/**
 * The npm package `nchan`: NchanSubscriber, by long polling or an event stream. It expects a page;
 * what it uses of one is below.
 */

import { EventSource } from "eventsource5";
import { obey } from "./commands.mjs";

/** As much of an XMLHttpRequest as NchanSubscriber uses. */
class XMLHttpRequest {
  #leaving = new AbortController();
  #headers = {};
  #answered = new Headers();
  readyState = 1;
  status = 0;
  responseText = "";

  open(method, url) {
    this.#leaving = new AbortController();
    this.method = method;
    this.url = url;
  }

  setRequestHeader(name, value) {
    this.#headers[name] = value;
  }

  getResponseHeader(name) {
    return this.#answered.get(name);
  }

  async send() {
    try {
      const answer = await fetch(this.url, {
        method: this.method,
        headers: this.#headers,
        signal: this.#leaving.signal,
      });
      this.responseText = await answer.text();
      this.#answered = answer.headers;
      this.status = answer.status;
    } catch (error) {
      if (error.name === "AbortError") return;
      this.readyState = 4;
      this.onerror();
      return;
    }
    this.readyState = 4;
    this.onload();
  }

  abort() {
    this.#leaving.abort();
    this.readyState = 4;
    this.onabort();
  }
}

Object.assign(globalThis, { XMLHttpRequest, EventSource, addEventListener() {} });
globalThis.window = globalThis;
const { default: NchanSubscriber } = await import("nchan");

await obey(({ url, transport, id }, tell) => {
  const subscriber = new NchanSubscriber(url, { subscriber: transport, id });
  subscriber.reconnectTimeout = 50; // ms
  subscriber.on("message", (text, meta) => tell({ text, id: meta.id }));
  subscriber.on("error", (code, text) => tell({ error: code, text }));
  subscriber.start();
  return () => subscriber.running && subscriber.stop();
});
