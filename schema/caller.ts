import { uuidOf } from '../src/domain/ids.ts';
import type { Permission } from '../src/domain/permissions.ts';
import type { Actor } from '../src/store/audit.ts';
import type { Caller, SchemaContext } from './context.ts';
import {
  adminKeyNeeded,
  forbidden,
  forbiddenToProjects,
  forbiddenToTokens,
  noProject,
  unauthenticated,
} from './errors.ts';

/** Who asks in a project. Throws UNAUTHENTICATED when nobody does, FORBIDDEN for the administrator, who has no project. */
export function callerOf({ caller }: SchemaContext): Caller {
  if (caller === null) throw unauthenticated();
  if (caller.kind === 'ADMINISTRATOR') throw noProject();
  return caller;
}

/** Throws unless the administrator asks: UNAUTHENTICATED when nobody does, else FORBIDDEN. */
export function requireAdministrator({ caller }: SchemaContext): void {
  if (caller === null) throw unauthenticated(adminKeyNeeded);
  if (caller.kind !== 'ADMINISTRATOR') throw forbiddenToProjects();
}

/** The caller, who holds an API key itself. Throws FORBIDDEN for an access token: it makes and takes no credentials. */
export function keyHolderOf(context: SchemaContext): Caller {
  const caller = callerOf(context);
  if (caller.kind === 'ACCESS_TOKEN') throw forbiddenToTokens();
  return caller;
}

/** Throws FORBIDDEN, naming the permission, when the caller lacks it. */
export function requirePermission(caller: Caller, permission: Permission): void {
  if (!caller.permissions.has(permission)) throw forbidden(permission);
}

/** The caller's project as the database knows it. */
export function projectUuidOf(context: SchemaContext): string {
  return uuidOf(callerOf(context).projectId);
}

/** The caller, as audit entries name it. Throws UNAUTHENTICATED when nobody asks. */
export function actorOf({ caller, requestId }: SchemaContext): Actor {
  if (caller === null) throw unauthenticated();
  const apiKeyId = caller.kind === 'ADMINISTRATOR' ? null : caller.apiKeyId;
  return { kind: caller.kind, apiKeyId, requestId };
}
