import { GraphQLError } from 'graphql';

/** Takes a project's place for one more subscription, until disposed. Throws RATE_LIMITED when there is none. */
export type HoldSubscription = (projectId: string) => Disposable;

/** Counts the subscriptions of each project in this process, on either transport. */
export function createProjectSubscriptions(subscriptionsMax: number): HoldSubscription {
  const counts = new Map<string, number>();
  return (projectId) => {
    const count = counts.get(projectId) ?? 0;
    if (count >= subscriptionsMax) {
      const message = `At most ${subscriptionsMax} subscriptions of one project may be open at once.`;
      const http = { status: 429, headers: { 'retry-after': '1' } };
      throw new GraphQLError(message, { extensions: { code: 'RATE_LIMITED', http } });
    }
    counts.set(projectId, count + 1);
    return {
      [Symbol.dispose]() {
        const left = (counts.get(projectId) ?? 0) - 1;
        if (left > 0) counts.set(projectId, left);
        else counts.delete(projectId);
      },
    };
  };
}
