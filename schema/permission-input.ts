import { z } from 'zod';
import type { Permission } from '../src/domain/permissions.ts';
import type { Caller } from './context.ts';
import { rule } from './user-error.ts';

/** The check of what a new credential may do: something, and only what its maker may do. Gives each permission once. */
export function permissionsInput(caller: Caller): z.ZodType<Permission[]> {
  const permission = rule<Permission>(
    (wanted) => caller.permissions.has(wanted),
    'PERMISSION_NOT_HELD',
    'a permission that the asking key has itself',
  );
  return z
    .array(permission)
    .and(rule<Permission[]>((list) => list.length > 0, 'INVALID_PERMISSIONS', 'at least one permission'))
    .transform((list) => [...new Set(list)]);
}
