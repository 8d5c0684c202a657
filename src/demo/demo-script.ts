/** A webhook of the demo and how its receiver answers. */
export interface DemoWebhook {
  name: string;
  eventTypes: readonly string[];
  /** How many requests of each event are answered with 500 before one is accepted. */
  failuresFirst: number;
  /** How long the receiver takes over each answer, in milliseconds. */
  answerMs: number;
  /** The above in words. */
  does: string;
}

/** What the demo registers; the first takes every event, and accepts at once. */
export const demoWebhooks: readonly DemoWebhook[] = [
  { name: 'Audit', eventTypes: ['*'], failuresFirst: 0, answerMs: 0, does: 'always accepts' },
  { name: 'Deploys', eventTypes: ['config.*'], failuresFirst: 2, answerMs: 0, does: 'fails twice, then accepts' },
  { name: 'People', eventTypes: ['user.invited'], failuresFirst: 0, answerMs: 150, does: 'accepts after 150 ms' },
];

/** Waits of the demo's webhooks after a failed attempt, in seconds. */
export const demoRetrySchedule: readonly number[] = [1, 1];

/** An event of the demo. */
export interface DemoEvent {
  type: string;
  data: Record<string, unknown>;
}

/** What the demo emits, in order. */
export const demoEvents: readonly DemoEvent[] = [
  { type: 'config.deployed', data: { application: 'support-chat', environment: 'production', version: 12 } },
  { type: 'user.invited', data: { email: 'ada@example.com', role: 'EDITOR' } },
  { type: 'config.deployed', data: { application: 'search', environment: 'staging', version: 3 } },
  { type: 'config.rolled_back', data: { application: 'support-chat', environment: 'production', version: 11 } },
  { type: 'evaluation.finished', data: { application: 'search', score: 0.94 } },
];
