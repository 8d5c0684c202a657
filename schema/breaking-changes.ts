import { CriticalityLevel, diff } from '@graphql-inspector/core';
import { buildSchema } from 'graphql';

/**
 * Says what of a released API its clients can no longer rely on, one sentence each, in the order of the schema; empty when
 * nothing breaks. Both are SDL. What is only added, or described otherwise, breaks nobody.
 */
export async function findBreakingChanges(released: string, current: string): Promise<string[]> {
  const changes = await diff(buildSchema(released), buildSchema(current));
  return changes
    .filter(({ criticality }) => criticality.level === CriticalityLevel.Breaking)
    .map(({ message, path }) => `${path ?? 'schema'}: ${message}.`);
}
