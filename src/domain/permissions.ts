/** What an API key may do. */
export const permissions = ['VIEW_WEBHOOKS', 'MANAGE_WEBHOOKS', 'EMIT_EVENTS'] as const;

export type Permission = (typeof permissions)[number];

/** Whether the text names a permission. */
export function isPermission(text: string): text is Permission {
  return permissions.some((permission) => permission === text);
}
