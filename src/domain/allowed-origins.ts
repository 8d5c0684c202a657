/** The sites beside our own whose pages may use the API in a browser: exact origins, or all. */
export type AllowedOrigins = '*' | readonly string[];

/** Reads `*` or origins joined by commas, such as `https://app.example.com`; null when it is neither. */
export function parseAllowedOrigins(given: string): AllowedOrigins | null {
  if (given.trim() === '*') return '*';
  const origins = given.split(',').map((origin) => origin.trim());
  return origins.every(isOrigin) ? origins : null;
}

/** Whether pages of the origin may read answers. */
export function isAllowedOrigin(allowed: AllowedOrigins, origin: string): boolean {
  return allowed === '*' || allowed.includes(origin);
}

/** Whether the origin is the site that the request itself went to, as its `host` header names it. */
export function isOwnOrigin(origin: string, host: string | undefined): boolean {
  return URL.canParse(origin) && host !== undefined && new URL(origin).host === host.toLowerCase();
}

/** As a browser writes it: no path, no default port, in lower case. */
function isOrigin(text: string): boolean {
  return URL.canParse(text) && /^https?:/.test(text) && new URL(text).origin === text;
}
