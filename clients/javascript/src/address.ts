export type Query = readonly (readonly [string, string])[];

/** The base URL of a server, path prefix included, as `http` or `https`, without a slash at its end. */
export function baseUrl(url: string): string {
  const { location } = globalThis as Partial<typeof globalThis>;
  const whole = location && !/^[a-z]+:/i.test(url) ? new URL(url, location.href).href : url;
  const base = whole.trim().replace(/^ws/i, "http").replace(/\/+$/, "");
  if (/^https?:\/\/[^/?#]+[^?#]*$/i.test(base)) return base;
  throw new TypeError(`${url} is not the base URL of a server, such as https://example.org/base`);
}

/** `path` below the base, with a query. */
export function address(base: string, path: string, query: Query = []): string {
  // Commas and colons may stand in a query as they are; so URLs in logs stay readable.
  const pairs = query.map(
    ([name, value]) =>
      `${name}=${encodeURIComponent(value).replace(/%2C/g, ",").replace(/%3A/g, ":")}`,
  );
  return base + path + (pairs.length > 0 ? `?${pairs.join("&")}` : "");
}
