import { z } from 'zod';
import { parseCidrs } from '../src/domain/address-policy.ts';
import { isEventTypeFilter } from '../src/domain/event-type.ts';
import { isHeaderName, isReservedHeaderName } from '../src/domain/header-name.ts';
import { isRetrySchedule } from '../src/domain/retry-schedule.ts';
import { isSignatureChoice, type SignatureStyle } from '../src/domain/signature.ts';
import { checkWebhookUrl } from '../src/domain/webhook-url.ts';
import type { WebhookHeader } from '../src/store/webhook-headers.ts';
import type { WebhookChanges, WebhookInput } from '../src/store/webhooks.ts';
import type { SchemaSettings } from './context.ts';
import { shown } from './errors.ts';
import { isDescriptionLength, isNameText, isStorableText, nameRequirement } from './input-text.ts';
import { rule, userError, type UserErrorShape } from './user-error.ts';

/** Most headers of a webhook. */
const headersMax = 20;
const headerValueBytesMax = 1_024;
const filtersMax = 50;

/** RFC 9110 §5.5, without obsolete text; what a client strips from either end is refused. */
const headerValuePattern = /^(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?$/;

/** The checks of a new webhook; what is absent gets its default. */
export function newWebhookInput(settings: SchemaSettings): z.ZodType<WebhookInput> {
  const fields = webhookFields(settings, []);
  const input = z.object({
    ...fields,
    description: fields.description.default(null),
    eventTypes: fields.eventTypes.default(['*']),
    headers: fields.headers.default([]),
    signatureStyle: fields.signatureStyle.default('STANDARD_WEBHOOKS'),
    signAsymmetrically: fields.signAsymmetrically.default(false),
    maxAttempts: fields.maxAttempts.default(null),
    retrySchedule: fields.retrySchedule.default([]),
    rateLimitPerSecond: fields.rateLimitPerSecond.default(null),
  });
  const { code, message } = unsignableError('signAsymmetrically');
  const path = ['signAsymmetrically'];
  // Also when other fields are wrong: everything is said at once.
  return input.refine(isSignatureChoice, { params: { code }, message, path, when: () => true });
}

/** The signatures that a webhook would have cannot be had, by the field that was given. */
export function unsignableError(field: 'signAsymmetrically' | 'signatureStyle'): UserErrorShape {
  const message =
    field === 'signAsymmetrically'
      ? 'signAsymmetrically must be false while signatureStyle is TIMESTAMPED_HEX, not true.'
      : 'signatureStyle must be STANDARD_WEBHOOKS while signAsymmetrically is true, not "TIMESTAMPED_HEX".';
  return userError([field], 'SIGNATURE_STYLE_CONFLICT', message);
}

/** The checks of a change to a webhook; what is absent stays. `masked` are its headers as people see them. */
export function webhookChanges(settings: SchemaSettings, masked: readonly WebhookHeader[]): z.ZodType<WebhookChanges> {
  return z.object(webhookFields(settings, masked)).partial();
}

function webhookFields(settings: SchemaSettings, masked: readonly WebhookHeader[]) {
  return {
    name: rule<string>(isName, 'INVALID_NAME', nameRequirement),
    description: rule<string | null>(
      (text) => text === null || isDescriptionLength(text),
      'INVALID_DESCRIPTION',
      'at most 1,000 characters',
    ).pipe(
      rule<string | null>(
        (text) => text === null || isStorableText(text),
        'INVALID_DESCRIPTION',
        'without NUL characters and halves of surrogate pairs',
      ),
    ),
    url: urlField(settings),
    eventTypes: rule<string[]>(
      (filters) => Array.isArray(filters) && filters.length >= 1 && filters.length <= filtersMax,
      'INVALID_EVENT_TYPES',
      `1 to ${filtersMax} filters`,
    )
      .pipe(z.array(rule<string>(isEventTypeFilter, 'INVALID_EVENT_TYPE', '`*`, `config.*` or an exact event type')))
      .transform((filters) => [...new Set(filters)]),
    headers: headersField(masked),
    signatureStyle: rule<SignatureStyle>((style) => style !== null, 'INVALID_SIGNATURE_STYLE', 'a signature style'),
    signAsymmetrically: rule<boolean>((signs) => signs !== null, 'INVALID_SIGN_ASYMMETRICALLY', 'true or false'),
    maxAttempts: optionalCount('INVALID_MAX_ATTEMPTS', 50),
    retrySchedule: z
      .custom<number[] | null>()
      .transform((schedule) => schedule ?? [])
      .pipe(rule<number[]>(isRetrySchedule, 'INVALID_RETRY_SCHEDULE', 'at most 20 waits of 0 to 604,800 seconds')),
    rateLimitPerSecond: optionalCount('INVALID_RATE_LIMIT', 10_000),
  };
}

function isName(name: string | null): boolean {
  return name !== null && isNameText(name);
}

function optionalCount(code: string, most: number): z.ZodType<number | null> {
  return rule<number | null>(
    (count) => count === null || (count >= 1 && count <= most),
    code,
    `1 to ${most}, or null for the default`,
  );
}

/** Gives the URL normalised, as it is stored and sent to. */
function urlField(settings: SchemaSettings): z.ZodType<string> {
  const policy = { requireHttps: settings.requireHttps, allowedCidrs: parseCidrs(settings.allowedCidrs) };
  return z.custom<string | null>().transform((text, issues) => {
    const checked = checkWebhookUrl(text ?? '', policy);
    if (checked.kind === 'ok') return checked.url;
    issues.addIssue({
      code: 'custom',
      params: { code: checked.code },
      message: `url ${shown(text)} is refused: ${checked.message}`,
    });
    return z.NEVER;
  });
}

function headersField(masked: readonly WebhookHeader[]) {
  const header = z.object({
    name: rule<string>(isAllowedHeaderName, 'INVALID_HEADER_NAME', 'an HTTP header name that is not reserved'),
    value: z.string(),
  });
  // Values may be credentials, and messages end in logs.
  const value = rule<WebhookHeader>(
    (given) => isHeaderValue(given.value) || isKeptMask(masked, given),
    'INVALID_HEADER_VALUE',
    `a header with at most ${headerValueBytesMax} printable ASCII characters as its value`,
    'secret',
  );
  return z
    .custom<WebhookHeader[] | null>()
    .transform((headers) => headers ?? [])
    .pipe(
      rule<WebhookHeader[]>(
        (headers) => headers.length <= headersMax,
        'TOO_MANY_HEADERS',
        `at most ${headersMax} headers`,
        'secret',
      ),
    )
    .pipe(z.array(header.pipe(value)))
    .pipe(rule<WebhookHeader[]>(hasDistinctNames, 'DUPLICATE_HEADER', 'headers with different names', 'secret'));
}

function isAllowedHeaderName(name: string): boolean {
  return isHeaderName(name) && !isReservedHeaderName(name);
}

function isHeaderValue(value: string): boolean {
  return value.length <= headerValueBytesMax && headerValuePattern.test(value);
}

/** A masked value that comes back as it was shown keeps what is behind it (src/store/webhook-headers.ts). */
function isKeptMask(masked: readonly WebhookHeader[], given: WebhookHeader): boolean {
  return masked.some(({ name, value }) => name.toLowerCase() === given.name.toLowerCase() && value === given.value);
}

function hasDistinctNames(headers: readonly WebhookHeader[]): boolean {
  return new Set(headers.map(({ name }) => name.toLowerCase())).size === headers.length;
}
