import { CreateWebhookDocument, PauseWebhookDocument } from '../generated/graphql.ts';
import { idFromUuid } from '../../src/domain/ids.ts';
import type { ProjectId } from '../../src/domain/ids.ts';
import { permissions } from '../../src/domain/permissions.ts';
import { createApiKey } from '../../src/store/api-keys.ts';
import type { Database } from '../../src/store/database.ts';
import { createProject } from '../../src/store/projects.ts';
import { createPatientCalls } from './chaos-calls.ts';
import type { PatientCalls } from './chaos-calls.ts';
import { eventTypesOf, hopeless, receiverPlans, works } from './chaos-tempers.ts';
import { createApiClient } from './e2e-client.ts';
import { testActor } from './test-actor.ts';

/** A project with a webhook for each of its receivers. */
export interface ChaosProject {
  projectId: ProjectId;
  calls: PatientCalls;
  /** In the order of `receiverPlans`, as are the secrets. */
  webhookIds: string[];
  secrets: string[];
}

/** Makes a project whose webhooks go to these URLs. */
export async function createChaosProject(
  database: Database,
  name: string,
  urls: readonly string[],
  gatewayUrls: readonly string[],
): Promise<ChaosProject> {
  const projectId = idFromUuid('project', (await createProject(database, name)).id);
  const { key } = await createApiKey(database, projectId, { name, permissions, expiresAt: null }, testActor);
  const calls = createPatientCalls(key, gatewayUrls);
  // Nothing goes wrong yet; a call that was repeated would make a second webhook.
  const [url = ''] = gatewayUrls;
  await using client = createApiClient({ graphqlUrl: `${url}/graphql`, websocketUrl: '' }, key);
  const webhookIds: string[] = [];
  const secrets: string[] = [];
  for (const [place, { temper, signatureStyle }] of receiverPlans.entries()) {
    const input = { name: temper, url: urls[place] ?? '', eventTypes: eventTypesOf(place), signatureStyle };
    const limits = works(temper) ? {} : hopeless;
    const { createWebhook: made } = await client.run(CreateWebhookDocument, { input: { ...input, ...limits } });
    if (!made.webhook || typeof made.secret !== 'string') throw new Error(JSON.stringify(made.userErrors));
    webhookIds.push(made.webhook.id);
    secrets.push(made.secret);
  }
  return { projectId, calls, webhookIds, secrets };
}

/** Pauses the webhooks whose receivers never work, so that everything comes to rest. */
export async function pauseHopeless({ calls, webhookIds }: ChaosProject): Promise<void> {
  for (const [place, { temper }] of receiverPlans.entries()) {
    const id = webhookIds[place];
    if (!works(temper) && id !== undefined) await calls.ask(PauseWebhookDocument, { id });
  }
}
