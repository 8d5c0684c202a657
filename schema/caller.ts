import { uuidOf } from '../src/domain/ids.ts';
import type { Permission } from '../src/domain/permissions.ts';
import type { Actor } from '../src/store/audit.ts';
import type { Caller, SchemaContext } from './context.ts';
import { forbidden, unauthenticated } from './errors.ts';

/** Who asks. Throws UNAUTHENTICATED when nobody does. */
export function callerOf(context: SchemaContext): Caller {
  if (context.caller === null) throw unauthenticated();
  return context.caller;
}

/** Throws FORBIDDEN, naming the permission, when the caller lacks it. */
export function requirePermission(caller: Caller, permission: Permission): void {
  if (!caller.permissions.has(permission)) throw forbidden(permission);
}

/** The caller's project as the database knows it. */
export function projectUuidOf(context: SchemaContext): string {
  return uuidOf(callerOf(context).projectId);
}

/** The caller, as audit entries name it. */
export function actorOf(context: SchemaContext): Actor {
  const { apiKeyId } = callerOf(context);
  return { kind: 'API_KEY', apiKeyId, requestId: context.requestId };
}
