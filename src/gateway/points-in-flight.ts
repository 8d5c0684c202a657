import { GraphQLError } from 'graphql';

/** Takes so many of a project's points, until disposed. Throws RATE_LIMITED when they are more than are left. */
export type HoldPoints = (projectId: string, points: number) => Disposable;

/**
 * Counts the points of each project's operations that are under way in this process, on either transport: from before
 * they are executed until their reader has taken the answer. So what the answers of a project take of memory is bounded,
 * however many connections ask and do not read.
 */
export function createPointsInFlight(pointsMax: number): HoldPoints {
  const held = new Map<string, number>();
  return (projectId, points) => {
    const before = held.get(projectId) ?? 0;
    // One that costs more than all may have is let through alone.
    if (before > 0 && before + points > pointsMax) throw tooManyAtOnce(points, pointsMax - before, pointsMax);
    held.set(projectId, before + points);
    return {
      [Symbol.dispose]() {
        const left = (held.get(projectId) ?? 0) - points;
        if (left > 0) held.set(projectId, left);
        else held.delete(projectId);
      },
    };
  };
}

function tooManyAtOnce(points: number, left: number, pointsMax: number): GraphQLError {
  const message =
    `This operation costs ${points} points, and ${Math.max(0, left)} are left of the ${pointsMax} that operations of one ` +
    'project may cost which are under way, or whose answers are not read: try again when some have ended.';
  const http = { status: 429, headers: { 'retry-after': '1' } };
  return new GraphQLError(message, { extensions: { code: 'RATE_LIMITED', http } });
}
