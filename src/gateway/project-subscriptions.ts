import { GraphQLError } from 'graphql';
import type { DocumentNode } from 'graphql';

/** What of a subscription stays in memory for as long as it lives. */
export interface KeptOperation {
  document: DocumentNode;
  /** As they came, those too that the document does not declare. */
  variables: unknown;
}

/**
 * Takes a project's place for one more subscription, until disposed. Throws RATE_LIMITED when there is none, and
 * QUERY_TOO_COMPLEX for a subscription that is too long by itself.
 */
export type HoldSubscription = (projectId: string, operation: KeptOperation) => Disposable;

export interface ProjectSubscriptionsLimits {
  subscriptionsPerProjectMax: number;
  subscriptionCharactersMax: number;
  subscriptionCharactersPerProjectMax: number;
}

interface Held {
  count: number;
  characterCount: number;
  /** How many of the subscriptions have which document: those of the same text share one. */
  documents: Map<DocumentNode, number>;
}

/** Counts the subscriptions of each project in this process, on either transport. */
export function createProjectSubscriptions(limits: ProjectSubscriptionsLimits): HoldSubscription {
  const projects = new Map<string, Held>();
  return (projectId, { document, variables }) => {
    const held = projects.get(projectId) ?? { count: 0, characterCount: 0, documents: new Map<DocumentNode, number>() };
    const documentLength = document.loc?.source.body.length ?? 0;
    const variablesLength = JSON.stringify(variables ?? null).length;
    requireShort(documentLength + variablesLength, limits.subscriptionCharactersMax);
    const sharers = held.documents.get(document) ?? 0;
    const added = variablesLength + (sharers === 0 ? documentLength : 0);
    requirePlace(held, added, limits);
    held.count += 1;
    held.characterCount += added;
    held.documents.set(document, sharers + 1);
    projects.set(projectId, held);
    return {
      [Symbol.dispose]() {
        held.count -= 1;
        held.characterCount -= variablesLength;
        if (leaveDocument(held.documents, document)) held.characterCount -= documentLength;
        if (held.count === 0) projects.delete(projectId);
      },
    };
  };
}

/** Whether that was the last who had it. */
function leaveDocument(documents: Held['documents'], document: DocumentNode): boolean {
  const left = (documents.get(document) ?? 1) - 1;
  if (left > 0) documents.set(document, left);
  else documents.delete(document);
  return left === 0;
}

function requireShort(length: number, most: number): void {
  if (length <= most) return;
  const message = `The document and the variables of a subscription may have ${most} characters together, not ${length}.`;
  throw new GraphQLError(message, { extensions: { code: 'QUERY_TOO_COMPLEX', http: { status: 400, spec: true } } });
}

function requirePlace(held: Held, added: number, limits: ProjectSubscriptionsLimits): void {
  const { subscriptionsPerProjectMax, subscriptionCharactersPerProjectMax } = limits;
  if (held.count >= subscriptionsPerProjectMax) {
    throw rateLimited(`At most ${subscriptionsPerProjectMax} subscriptions of one project may be open at once.`);
  }
  if (held.characterCount + added > subscriptionCharactersPerProjectMax) {
    throw rateLimited(
      `The different documents and the variables of one project's open subscriptions may have ` +
        `${subscriptionCharactersPerProjectMax} characters together: use one document with variables.`,
    );
  }
}

function rateLimited(message: string): GraphQLError {
  const http = { status: 429, headers: { 'retry-after': '1' } };
  return new GraphQLError(message, { extensions: { code: 'RATE_LIMITED', http } });
}
