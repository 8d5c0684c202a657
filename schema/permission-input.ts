import { z } from 'zod';
import type { Permission } from '../src/domain/permissions.ts';
import type { Caller } from './context.ts';
import { rule } from './user-error.ts';

/** There are few, but a caller may say one twice. */
const permissionsMax = 100;

/** The check of what a new credential may do: something, and only what its maker may do. Gives each permission once. */
export function permissionsInput(caller: Caller): z.ZodType<Permission[]> {
  const permission = rule<Permission>(
    (wanted) => caller.permissions.has(wanted),
    'PERMISSION_NOT_HELD',
    'a permission that the asking key has itself',
  );
  return rule<Permission[]>(isPermissionList, 'INVALID_PERMISSIONS', `1 to ${permissionsMax} permissions`)
    .pipe(z.array(permission))
    .transform((list) => [...new Set(list)]);
}

function isPermissionList(list: readonly Permission[]): boolean {
  return list.length >= 1 && list.length <= permissionsMax;
}
