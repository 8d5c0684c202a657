import { isReservedHeaderName } from '../src/domain/header-name.ts';
import type { Dispatch } from '../src/domain/delivery.ts';
import { signatureHeaders } from '../src/domain/signature.ts';

export interface RequestHeaderSettings {
  /** Names the header of TIMESTAMPED_HEX signatures, as in `x-<brand>-signature`. */
  brand: string;
  userAgent: string;
}

/**
 * The headers of one attempt, as name, value, name, value. The webhook's own come last and cannot stand in for those
 * that Posthorn or the connection sets: such are left out. Source: Standard Webhooks 1.0.
 */
export function requestHeaders(
  settings: RequestHeaderSettings,
  dispatch: Dispatch,
  timestampSeconds: number,
): string[] {
  const headers = [
    'content-type',
    'application/json',
    'user-agent',
    settings.userAgent,
    'webhook-id',
    dispatch.eventId,
    'webhook-timestamp',
    String(timestampSeconds),
    'x-posthorn-event',
    dispatch.eventType,
    'x-posthorn-delivery',
    dispatch.deliveryId,
    'x-posthorn-attempt',
    String(dispatch.attemptNumber),
  ];
  const content = { messageId: dispatch.eventId, timestampSeconds, body: dispatch.body };
  const signatures = signatureHeaders(dispatch.signatureStyle, content, dispatch, settings.brand);
  for (const name in signatures) headers.push(name, signatures[name] ?? '');
  for (const { name, value } of dispatch.headers) {
    if (!isReservedHeaderName(name)) headers.push(name, value);
  }
  return headers;
}
