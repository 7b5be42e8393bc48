export type Query = readonly (readonly [string, string])[];

/** The base URL of a server, path prefix included, as `http` or `https`, without a slash at its end. */
export function baseUrl(url: string): string {
  let whole = url.trim();
  if (!/^[a-z]+:\/\//i.test(whole)) {
    if (typeof location === "undefined") {
      throw new TypeError(`${url} is no address of a server, such as https://example.org`);
    }
    whole = new URL(whole, location.href).href;
  }
  const base = whole.replace(/^ws/i, "http").replace(/\/+$/, "");
  if (!/^https?:\/\/[^/?#]+[^?#]*$/i.test(base)) {
    throw new TypeError(`${url} is not the base URL of a server: give it without query`);
  }
  return base;
}

/** `path` below the base, with a query. */
export function address(base: string, path: string, query: Query = []): string {
  // Commas, colons and slashes may stand in a query as they are; so URLs in logs stay readable.
  const pairs = query.map(
    ([name, value]) =>
      `${name}=${encodeURIComponent(value).replace(/%(2C|3A|2F|40)/g, decodeURIComponent)}`,
  );
  return base + path + (pairs.length > 0 ? `?${pairs.join("&")}` : "");
}
