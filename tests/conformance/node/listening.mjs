/** What an EventSource hears. It knows nothing of Node: the browser's own is listened to as well. */

/**
 * @param {typeof EventSource} EventSource
 * @param {string} url
 * @param {string[]} names of events that have a listener of their own
 * @param {(heard: object) => void} tell
 */
export function listening(EventSource, url, names, tell) {
  const source = new EventSource(url);
  const told = (how) => (event) => {
    // A publisher may call its events "open" and "error" too; those of the connection have no data.
    if (event.data !== undefined) {
      tell({ how, type: event.type, data: event.data, id: event.lastEventId });
    }
  };
  source.onmessage = told("onmessage");
  for (const name of new Set(names)) {
    if (name !== "message") source.addEventListener(name, told("listener"));
  }
  return source;
}
