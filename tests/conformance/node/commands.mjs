/** What the drivers share: commands on standard input, one JSON line for all that is heard. */

import { createInterface } from "node:readline";

/** @param {object} what */
export function tell(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

/**
 * Obey one JSON line after the other until the input ends: `{"url", …}` opens a stream in place of
 * the one before, a line without `url` closes it and is answered with `{"closed": true}`.
 *
 * @param {(command: any, tell: (what: object) => void) => () => void} open returns what closes it
 */
export async function obey(open) {
  let close = () => {};
  let turn = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    close();
    const mine = (turn += 1);
    if (command.url) {
      close = open(command, (what) => mine === turn && tell(what));
    } else {
      close = () => {};
      tell({ closed: true });
    }
  }
  process.exit(0);
}
