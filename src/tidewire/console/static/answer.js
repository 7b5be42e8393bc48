/** The answer that both kinds of polling share. */

import { size } from "./http.js";

/**
 * Reads `{"messages": […], "cursor": …, "gaps": […]}` and reports what it holds.
 * @param {Response} response
 * @param {import("./connection.js").Link} link
 * @returns {Promise<object>} the body
 */
export async function readAnswer(response, link) {
  const text = await response.text();
  const answer = JSON.parse(text);
  link.took(size(text));
  for (const gap of answer.gaps ?? []) link.gap(gap);
  for (const envelope of answer.messages) link.message(envelope);
  link.moved(answer.cursor);
  return answer;
}
