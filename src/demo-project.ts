import { readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { idFromUuid, parseId } from './domain/ids.ts';
import { prepareDataFolder } from './stack/data-folder.ts';
import { findApiKey } from './store/api-keys.ts';
import { createProjectWithKey } from './store/projects.ts';
import type { ProjectId } from './domain/ids.ts';
import type { Database } from './store/database.ts';

/** The project that a newcomer starts with, as `demo.json` in the data folder keeps it. */
export interface DemoProject {
  projectId: ProjectId;
  apiKey: string;
}

/** `demo.json`: the demo project and where this start serves it. */
export interface DemoFacts extends DemoProject {
  graphqlUrl: string;
  websocketUrl: string;
}

const demoFile = z.object({
  projectId: z.string().transform((text) => parseId('project', text)),
  apiKey: z.string(),
  graphqlUrl: z.url(),
  websocketUrl: z.url(),
});

const demoText = z
  .string()
  .transform((text, context) => {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      context.addIssue({ code: 'custom', message: 'not JSON' });
      return z.NEVER;
    }
  })
  .pipe(demoFile);

/** The facts that `demo.json` holds, or null when there is none that can be read. */
export async function findDemoFacts(dataFolder: string): Promise<DemoFacts | null> {
  const text = await readFile(demoPath(dataFolder), 'utf8').catch(() => null);
  if (text === null) return null;
  const parsed = demoText.safeParse(text);
  return parsed.success ? parsed.data : null;
}

/** The demo project of this database: the one that `demo.json` names while its key still works, else a new one. */
export async function ensureDemoProject(database: Database, dataFolder: string): Promise<DemoProject> {
  const known = await findDemoFacts(dataFolder);
  if (known !== null && (await findApiKey(database, known.apiKey)) !== null) return known;
  const actor = { kind: 'ADMINISTRATOR', apiKeyId: null, requestId: null } as const; // who starts the process
  const { project, key } = await createProjectWithKey(database, { name: 'Demo', keyName: 'Demo key', actor });
  return { projectId: idFromUuid('project', project.id), apiKey: key };
}

/** Writes `demo.json`, readable by its owner only, whole or not at all. */
export async function writeDemoFacts(dataFolder: string, facts: DemoFacts): Promise<void> {
  const target = demoPath(dataFolder);
  const { projectId, apiKey, graphqlUrl, websocketUrl } = facts;
  await prepareDataFolder(dataFolder);
  await writeFile(`${target}.new`, `${JSON.stringify({ projectId, apiKey, graphqlUrl, websocketUrl }, null, 2)}\n`, {
    mode: 0o600,
  });
  await rename(`${target}.new`, target);
}

function demoPath(dataFolder: string): string {
  return path.join(dataFolder, 'demo.json');
}
