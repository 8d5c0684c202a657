import { stopLimitMs } from '../domain/stop-limit.ts';

/** What the edge allows, and how long it waits. Sizes are in bytes, times in milliseconds. */
export interface GatewayLimits {
  /** One HTTP request body (more is 413) and one WebSocket message (more closes the socket with 1009). */
  messageBytesMax: number;
  tokensMax: number;
  /** Fields nested in one another, introspection apart: the executor has its own rule for that. */
  depthMax: number;
  /** Aliases in one operation, counted as often as a fragment is spread. */
  aliasesMax: number;
  /** Fields of Query, Mutation or Subscription in one operation, aliases of the same one counted each. */
  rootFieldsMax: number;
  /** Fields in one operation or fragment; the specification's rules compare each with each. */
  fieldsMax: number;
  directivesMax: number;
  /** Points that one operation may cost (operation-cost.ts). */
  costMax: number;
  /** The same for a subscription, whose every item is that work again and costs nothing. */
  subscriptionCostMax: number;
  /**
   * Points of one project's small operations that are under way or whose answers are not read, in this process, and of its
   * large ones as many again. A point is at most some 12 KiB of an answer, so these are some 150 MiB each.
   */
  pointsInFlightMax: number;
  /** How long an operation waits for points that others hold. */
  pointsWaitMs: number;
  /** Subscriptions of one project at once, WebSockets and event streams together, in this process. */
  subscriptionsPerProjectMax: number;
  /** Text of a subscription's document and variables, which stay in memory for as long as it is open. */
  subscriptionCharactersMax: number;
  /** The same of all of a project's, where documents of the same text count once. Parsed, a character is some 50 bytes. */
  subscriptionCharactersPerProjectMax: number;
  /** How long a client may take for the head of a request, and for all of it. */
  requestHeadMs: number;
  requestMs: number;
  operationsPerSocketMax: number;
  /** What may wait for a WebSocket's reader when it asks for more. */
  bufferedBytesMax: number;
  /** How long a reader may take nothing at all of what waits for it. */
  stalledMs: number;
  /** The same for a plain answer. Longer: of a large one the kernel has megabytes, and shows no progress until a part of them is gone. */
  answerStalledMs: number;
  connectionInitMs: number;
  /** Failed authentications from one address that are answered at once, and after how long it may fail once more. */
  failedAuthenticationsMax: number;
  failedAuthenticationMs: number;
  pingMs: number;
  /** How often the credentials of live connections are looked at again. */
  reauthenticateMs: number;
  /** How often live connections are looked at. */
  tickMs: number;
  readyCheckMs: number;
  /** How long stopping waits for answers that are under way. */
  stopMs: number;
}

/** The limits of a deployment; tests shorten some. */
export const gatewayLimits: GatewayLimits = {
  messageBytesMax: 1024 * 1024,
  tokensMax: 5_000,
  depthMax: 12,
  aliasesMax: 50,
  rootFieldsMax: 20,
  fieldsMax: 1_000,
  directivesMax: 50,
  costMax: 5_000,
  subscriptionCostMax: 1_000,
  pointsInFlightMax: 12_000,
  pointsWaitMs: 5_000,
  subscriptionsPerProjectMax: 10_000,
  subscriptionCharactersMax: 16 * 1024,
  subscriptionCharactersPerProjectMax: 4 * 1024 * 1024,
  requestHeadMs: 10_000,
  requestMs: 30_000,
  operationsPerSocketMax: 100,
  bufferedBytesMax: 1024 * 1024,
  stalledMs: 10_000,
  answerStalledMs: 30_000,
  connectionInitMs: 10_000,
  failedAuthenticationsMax: 20,
  failedAuthenticationMs: 3_000,
  pingMs: 12_000,
  reauthenticateMs: 5_000,
  tickMs: 1_000,
  readyCheckMs: 2_000,
  stopMs: stopLimitMs,
};
