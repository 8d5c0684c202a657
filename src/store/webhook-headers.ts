import type { SecretBox } from './secret-box.ts';

/** A header that a webhook's requests carry. */
export interface WebhookHeader {
  name: string;
  value: string;
}

const credentialName = /^cookie$|key|token|secret|password|auth|signature/i;
const mask = '••••';

/** The headers as they are stored: names in clear, values encrypted. */
export function encryptedWebhookHeaders(secretBox: SecretBox, headers: readonly WebhookHeader[]): WebhookHeader[] {
  return headers.map(({ name, value }) => ({ name, value: secretBox.encrypt(value) }));
}

/** The headers of a stored webhook in clear, in the order they were given. Throws when they cannot be decrypted. */
export function webhookHeaders(secretBox: SecretBox, row: { headers: unknown }): WebhookHeader[] {
  return parseStoredHeaders(row.headers).map(({ name, value }) => ({ name, value: secretBox.decrypt(value) }));
}

/**
 * The headers of a stored webhook as people may see them: a value whose name says credential is `••••`, with its last
 * four characters when it is longer than eight.
 */
export function maskedWebhookHeaders(secretBox: SecretBox, row: { headers: unknown }): WebhookHeader[] {
  return webhookHeaders(secretBox, row).map(masked);
}

/**
 * The headers to store when a person changes them: a masked value that comes back as it was shown keeps the value
 * behind it, everything else is taken as given. A mask is no possible header value, so this is never a guess.
 */
export function changedWebhookHeaders(
  secretBox: SecretBox,
  row: { headers: unknown },
  headers: readonly WebhookHeader[],
): WebhookHeader[] {
  const current = webhookHeaders(secretBox, row);
  const unmasked = headers.map((header) => {
    if (!header.value.startsWith(mask)) return header;
    const kept = current.find(
      (candidate) =>
        candidate.name.toLowerCase() === header.name.toLowerCase() && masked(candidate).value === header.value,
    );
    return kept === undefined ? header : { name: header.name, value: kept.value };
  });
  return encryptedWebhookHeaders(secretBox, unmasked);
}

function masked({ name, value }: WebhookHeader): WebhookHeader {
  if (!credentialName.test(name)) return { name, value };
  return { name, value: value.length > 8 ? mask + value.slice(-4) : mask };
}

function parseStoredHeaders(stored: unknown): WebhookHeader[] {
  if (!Array.isArray(stored) || !stored.every(isHeader))
    throw new TypeError('webhooks.headers is not a list of headers');
  return stored;
}

function isHeader(value: unknown): value is WebhookHeader {
  return (
    typeof value === 'object' &&
    value !== null &&
    'name' in value &&
    typeof value.name === 'string' &&
    'value' in value &&
    typeof value.value === 'string'
  );
}
