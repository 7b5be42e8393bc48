/**
 * What a message says, in words and figures. The kind follows from the shape of its data, so any
 * channel that publishes these shapes is shown this way:
 *
 *   quote   {symbol, price, change}
 *   answer  {answer, token} and, with the first token, {question}
 *   alert   {level, service, text}
 *   stock   {item, price, stock, of}
 *   plain   everything else
 */

const LONGEST = 600; // characters of an answer that are kept
const TREND = 60; // prices in the small chart
const UP = "▲";
const DOWN = "▼";

const isObject = (data) => typeof data === "object" && data !== null && !Array.isArray(data);

/** @returns {"quote" | "answer" | "alert" | "stock" | "plain"} */
export function kindOf(data) {
  if (!isObject(data)) return "plain";
  if (typeof data.symbol === "string" && Number.isFinite(data.price)) return "quote";
  if (typeof data.token === "string" && "answer" in data) return "answer";
  if (typeof data.level === "string" && typeof data.text === "string") return "alert";
  if (typeof data.item === "string" && Number.isFinite(data.stock)) return "stock";
  return "plain";
}

const movement = (change) => {
  const arrow = change > 0 ? UP : change < 0 ? DOWN : "•";
  return `${arrow} ${Math.abs(change).toFixed(2)}`;
};

const toneOf = {
  quote: ({ change = 0 }) => (change > 0 ? "good" : change < 0 ? "bad" : ""),
  alert: ({ level }) =>
    ({ critical: "bad", error: "bad", warning: "warn", resolved: "good" })[level] ?? "",
};

/** Any value as one line of text. */
function plain(envelope) {
  if (envelope.data instanceof Uint8Array) return `binary, ${envelope.data.length} bytes`;
  const { data } = envelope;
  return typeof data === "string" ? data : JSON.stringify(data);
}

/**
 * A message as one line: `{text, tail, tone}`. The tail is a short word or figure that always
 * fits; its tone is "", "good", "warn" or "bad".
 */
export function summary(envelope) {
  const { data, event } = envelope;
  const kind = kindOf(data);
  const tone = toneOf[kind]?.(data) ?? "";
  const line = {
    quote: () => [`${data.symbol} ${data.price.toFixed(2)}`, movement(data.change ?? 0)],
    answer: () => [data.token.trim() || "␣", data.done ? "done" : ""],
    alert: () => [[data.service, data.text].filter(Boolean).join(": "), data.level],
    stock: () => [data.item, `${data.stock} left`],
    plain: () => [plain(envelope), event ?? ""],
  };
  const [text, tail] = line[kind]();
  return { text, tail, tone };
}

/**
 * What the stage shows after one more message.
 * @param {object | null} before what it showed
 * @returns {{kind: string, title: string, main: string, aside: string, tone: string,
 *   share: number | null, trend: number[]}} `share`, 0 to 1, is how full a bar is, null: no bar;
 *   `trend` holds the newest prices, oldest first
 */
export function stageAfter(before, envelope) {
  const { data, event } = envelope;
  const kind = kindOf(data);
  const { tone } = summary(envelope);
  const stage = { kind, title: "", main: "", aside: "", tone, share: null, trend: [] };
  const fill = {
    quote: () => ({
      title: data.symbol,
      main: data.price.toFixed(2),
      aside: movement(data.change ?? 0),
      trend: [...(before?.title === data.symbol ? before.trend : []), data.price].slice(-TREND),
    }),
    answer: () => answerAfter(before, data),
    alert: () => ({ title: [data.level, data.service].filter(Boolean).join(" · "), main: data.text }),
    stock: () => ({
      title: data.item,
      main: `${data.stock} left`,
      aside: data.price ?? "",
      share: data.of > 0 ? Math.min(1, Math.max(0, data.stock / data.of)) : null,
    }),
    plain: () => ({ title: event ?? "newest message", main: plain(envelope).slice(0, LONGEST) }),
  };
  return { ...stage, ...fill[kind]() };
}

function answerAfter(before, data) {
  const same = before?.kind === "answer" && before.answer === data.answer;
  return {
    answer: data.answer,
    title: data.question ?? (same ? before.title : "an answer, token by token"),
    main: ((same ? before.main : "") + data.token).slice(-LONGEST),
  };
}
