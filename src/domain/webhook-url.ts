import type { Cidr } from './address-policy.ts';
import { isAddress, isForbiddenAddress } from './address-policy.ts';

/** Longest webhook URL, in characters, as given and as normalised. */
export const webhookUrlLengthMax = 2048;

/** Why a URL is refused. Stable text. */
export type WebhookUrlProblem =
  | 'INVALID_URL'
  | 'URL_TOO_LONG'
  | 'HTTPS_REQUIRED'
  | 'CREDENTIALS_IN_URL'
  | 'FRAGMENT_IN_URL'
  | 'INVALID_PORT'
  | 'BLOCKED_ADDRESS';

export type WebhookUrlCheck =
  | { kind: 'ok'; url: string }
  | { kind: 'refused'; code: WebhookUrlProblem; message: string };

/** What a deployment allows. */
export interface WebhookUrlPolicy {
  requireHttps: boolean;
  /** Ranges opened in spite of being special; none when left out. */
  allowedCidrs?: readonly Cidr[];
}

/**
 * Judges a webhook's URL without resolving its name: absolute http or https, without credentials and fragment, at most
 * 2048 characters, and no address that nothing may be sent to. `url` is the normalised URL that is stored and sent to.
 * Source of the parsing: WHATWG URL, whose canonical hosts leave no second spelling of an address (`0x7f.1`, `127.1`).
 */
export function checkWebhookUrl(text: string, policy: WebhookUrlPolicy): WebhookUrlCheck {
  if (text.length > webhookUrlLengthMax) return tooLong;
  if (!text.isWellFormed()) return refuse('INVALID_URL', 'The URL must not contain halves of surrogate pairs.');
  const url = absoluteHttpUrl(text);
  if (url === null) return refuse('INVALID_URL', 'The URL must be absolute and start with https:// or http://.');
  if (url.href.length > webhookUrlLengthMax) return tooLong;
  return (
    problemOfShape(url, text) ?? problemOfTarget(url, policy) ?? problemOfName(url) ?? { kind: 'ok', url: url.href }
  );
}

/** The host of a URL as resolvers and sockets take it: no brackets around IPv6, no trailing dot. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$|\.+$/g, '');
}

/** Whether the host (of `hostOf`) names this machine wherever it is looked up. Source: RFC 6761 §6.3. */
export function isLocalhost(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost');
}

/** What the customer reads when a host may not be sent to; it says nothing about what the name resolves to. */
export function blockedMessage(host: string): string {
  return `${host} is, or resolves to, an address that webhooks may not be sent to (private, local or reserved).`;
}

function problemOfShape(url: URL, text: string): WebhookUrlCheck | null {
  if (url.username !== '' || url.password !== '') {
    return refuse('CREDENTIALS_IN_URL', 'The URL must not contain a user name or password; use a header instead.');
  }
  if (text.includes('#')) return refuse('FRAGMENT_IN_URL', 'The URL must not contain a fragment (#…).');
  return url.port === '0' ? refuse('INVALID_PORT', 'Port 0 cannot be sent to.') : null;
}

function problemOfTarget(url: URL, policy: WebhookUrlPolicy): WebhookUrlCheck | null {
  if (url.protocol === 'http:' && policy.requireHttps) {
    return refuse('HTTPS_REQUIRED', 'The URL must start with https://.');
  }
  const host = hostOf(url);
  return isForbiddenHost(host, policy.allowedCidrs ?? []) ? refuse('BLOCKED_ADDRESS', blockedMessage(host)) : null;
}

/** A name with an empty label is none; resolvers may still take `0x7f.1..` for the address that is left without the dots. */
function problemOfName(url: URL): WebhookUrlCheck | null {
  if (!/^\.|\.\./.test(url.hostname)) return null;
  return refuse('INVALID_URL', `The host ${url.hostname} is not a name: it has a dot too many.`);
}

function isForbiddenHost(host: string, allowed: readonly Cidr[]): boolean {
  if (isLocalhost(host)) return isForbiddenAddress('127.0.0.1', allowed) && isForbiddenAddress('::1', allowed);
  return isAddress(host) && isForbiddenAddress(host, allowed);
}

/** The parser repairs what a person would call broken (blanks, backslashes, missing slashes); such texts are refused. */
function absoluteHttpUrl(text: string): URL | null {
  if (!/^https?:\/\/[^/?#]/i.test(text) || /[\s\\\p{Cc}]/u.test(text)) return null;
  return URL.parse(text);
}

function refuse(code: WebhookUrlProblem, message: string): WebhookUrlCheck {
  return { kind: 'refused', code, message };
}

const tooLong = refuse('URL_TOO_LONG', `The URL must not be longer than ${webhookUrlLengthMax} characters.`);
