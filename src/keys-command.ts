import { parseKeysCreate, parseKeyId, parseProjectId } from './keys-arguments.ts';
import { loadConfig } from './config.ts';
import { idFromUuid, type ProjectId } from './domain/ids.ts';
import { openMigratedDatabase } from './stack/database-in-use.ts';
import type { Actor } from './store/audit.ts';
import { createApiKey, listApiKeys, revokeApiKey } from './store/api-keys.ts';
import { findProjectOfKey, listEveryApiKey } from './store/every-api-key.ts';
import { createProject, findProject } from './store/projects.ts';
import type { Command } from 'commander';
import type { ApiKey } from '../prisma/generated/client/client.ts';
import type { CreateOptions } from './keys-arguments.ts';
import type { Database } from './store/database.ts';

/** Who has the settings of the deployment is its administrator. */
const operator: Actor = { kind: 'ADMINISTRATOR', apiKeyId: null, requestId: null };

type Print = (text: string) => void;

/** Adds `posthorn keys create|list|revoke`, on the database that the settings name. What scripts need goes to `print`. */
export function addKeysCommand(program: Command, print: Print): void {
  const keys = program.command('keys').description('make, list and revoke API keys');
  keys
    .command('create')
    .description("make an API key and print its text, this once; `--json` prints its ids and its project's too")
    .option('--project <id>', 'the project it is for, prj_…')
    .option('--new-project <name>', 'or make a project of this name for it')
    .requiredOption('--name <name>', 'what people call the key')
    .option('--permissions <list>', 'what it may do, joined by commas', 'VIEW_WEBHOOKS,MANAGE_WEBHOOKS,EMIT_EVENTS')
    .option('--expires-in-days <days>', 'when it stops working; without it, never')
    .option('--json', 'print one JSON object')
    .action(async (options: CreateOptions) => await create(options, print));
  keys
    .command('list')
    .description('list API keys, newest first, at most 1,000; one a line, its fields separated by tabs')
    .option('--project <id>', 'of this project alone, prj_…')
    .option('--json', 'print one JSON array')
    .action(async (options: ListOptions) => await list(options, print));
  keys
    .command('revoke')
    .description('revoke an API key for good')
    .argument('<id>', 'the key, key_…')
    .action(async (id: string) => await revoke(id, print));
}

interface ListOptions {
  project?: string;
  json?: true;
}

/** What was typed is read before: a database that has to be started first would make a person wait for its mistake. */
async function onDatabase<Result>(work: (db: Database) => Promise<Result>): Promise<Result> {
  await using stack = new AsyncDisposableStack();
  const { url } = stack.use(await openMigratedDatabase(loadConfig(process.env)));
  const { openDatabase } = await import('./store/database.ts'); // Prisma, which a worker never loads
  return await work(stack.use(openDatabase(url)));
}

async function create(options: CreateOptions, print: Print): Promise<void> {
  const { project, ...input } = parseKeysCreate(options, new Date());
  const { apiKey, key } = await onDatabase(async (db) => {
    const projectId =
      project.kind === 'new'
        ? idFromUuid('project', (await createProject(db, project.name)).id)
        : await requireProject(db, project.id);
    return await createApiKey(db, projectId, input, operator);
  });
  if (options.json) print(JSON.stringify({ ...factsOf(apiKey), key }));
  else print(key);
}

async function requireProject(db: Database, projectId: ProjectId): Promise<ProjectId> {
  if ((await findProject(db, projectId)) !== null) return projectId;
  throw new Error(`--project ${projectId}: there is no such project; --new-project makes one.`);
}

async function list(options: ListOptions, print: Print): Promise<void> {
  const projectId = options.project === undefined ? null : parseProjectId(options.project);
  const apiKeys = await onDatabase(async (db) =>
    projectId === null ? await listEveryApiKey(db) : await listApiKeys(db, await requireProject(db, projectId)),
  );
  const facts = apiKeys.map((apiKey) => factsOf(apiKey));
  if (options.json) print(JSON.stringify(facts));
  else for (const fact of facts) print(lineOf(fact));
}

async function revoke(id: string, print: Print): Promise<void> {
  const apiKeyId = parseKeyId(id);
  await onDatabase(async (db) => {
    const projectId = await findProjectOfKey(db, apiKeyId);
    if (projectId === null) throw new Error(`${id}: there is no such API key; \`posthorn keys list\` shows them.`);
    await revokeApiKey(db, projectId, apiKeyId, operator);
  });
  print(`Revoked ${apiKeyId}.`);
}

type KeyFacts = ReturnType<typeof factsOf>;

function factsOf(apiKey: ApiKey) {
  return {
    id: idFromUuid('apiKey', apiKey.id),
    projectId: idFromUuid('project', apiKey.projectId),
    prefix: apiKey.keyPrefix,
    state: stateOf(apiKey, new Date()),
    permissions: apiKey.permissions,
    createdAt: apiKey.createdAt.toISOString(),
    expiresAt: apiKey.expiresAt?.toISOString() ?? null,
    revokedAt: apiKey.revokedAt?.toISOString() ?? null,
    name: apiKey.name,
  };
}

function stateOf({ revokedAt, expiresAt }: ApiKey, now: Date): 'live' | 'revoked' | 'expired' {
  if (revokedAt !== null) return 'revoked';
  return expiresAt !== null && expiresAt <= now ? 'expired' : 'live';
}

/** The name comes last: it alone may hold blanks, and no tabs. */
function lineOf({ id, projectId, prefix, state, permissions, createdAt, expiresAt, name }: KeyFacts): string {
  return [id, projectId, prefix, state, permissions.join(','), createdAt, expiresAt ?? 'never', name].join('\t');
}
