import { randomUUID } from 'node:crypto';
import { access, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { buildSchema, parse, validate } from 'graphql';
import { beforeAll, expect, test } from 'vitest';
import { deliveryStatuses } from '../../src/domain/delivery.ts';
import { idFromUuid } from '../../src/domain/ids.ts';
import { permissions } from '../../src/domain/permissions.ts';
import { welcomeText } from '../../src/welcome.ts';

const root = path.resolve(import.meta.dirname, '../..');
let readme: string;

beforeAll(async () => {
  readme = await readFile(path.join(root, 'README.md'), 'utf8');
});

function blocksOf(language: string): string[] {
  return [...readme.matchAll(/^```(\w*)\n(.*?)^```$/gms)]
    .filter(([, tag]) => tag === language)
    .map(([, , code]) => code ?? '');
}

function sectionOf(title: string): string {
  return readme.split(/^## /m).find((section) => section.startsWith(`${title}\n`)) ?? '';
}

async function missingAmong(files: readonly string[]): Promise<string[]> {
  const found = await Promise.allSettled(files.map(async (file) => await access(path.join(root, file))));
  return files.filter((_, index) => found[index]?.status === 'rejected');
}

test('every GraphQL example is valid against the printed schema', async () => {
  const schema = buildSchema(await readFile(path.join(root, 'schema/schema.graphql'), 'utf8'));
  const examples = blocksOf('graphql');
  expect(examples.length).toBeGreaterThanOrEqual(5);
  expect(examples.flatMap((example) => validate(schema, parse(example)))).toEqual([]);
});

test('every GraphQL call made with curl is valid against the printed schema', async () => {
  const schema = buildSchema(await readFile(path.join(root, 'schema/schema.graphql'), 'utf8'));
  const calls = [...readme.matchAll(/-d '(\{"query":.*?\})'$/gms)].map(([, body]) => JSON.parse(body ?? '').query);
  expect(calls).toHaveLength(3);
  expect(calls.flatMap((call) => validate(schema, parse(call)))).toEqual([]);
});

function callsOf(text: string): unknown[] {
  return [...text.matchAll(/^ *(curl -\w+).*?-d '(\{"query":.*?\})'$/gms)].map(([call, program, body]) => ({
    program,
    headers: [...call.matchAll(/-H ['"](.*?)['"]/g)].map(([, header]) => header),
    query: JSON.parse(body ?? '').query,
  }));
}

const facts = {
  graphqlUrl: '$URL',
  websocketUrl: '',
  apiKey: '$KEY',
  projectId: idFromUuid('project', randomUUID()),
};
const config = { databaseUrl: null, dataFolder: '.posthorn', introspection: true, persistedOperations: null };

test('the calls that a start prints are those of the README', () => {
  const printed = welcomeText(facts, config);
  expect(printed).toContain('GraphiQL');
  expect(callsOf(printed)).toHaveLength(3);
  expect(callsOf(printed)).toEqual(callsOf(readme));
});

test('a start offers nothing that its settings refuse', () => {
  expect(welcomeText(facts, { ...config, introspection: false })).not.toContain('GraphiQL');
  const printed = welcomeText(facts, { ...config, persistedOperations: 'documents.json' });
  expect(printed).not.toContain('GraphiQL');
  expect(printed).not.toContain('curl');
});

test('every relative link leads to a file, or to a heading', async () => {
  const links = [...readme.matchAll(/\]\((?!https?:)([^)]+)\)/g)].map(([, target]) => target ?? '');
  const headings = new Set(
    [...readme.matchAll(/^#+ (.+)$/gm)].map(([, text]) => `#${text?.toLowerCase().replaceAll(' ', '-')}`),
  );
  const files = links.filter((link) => !link.startsWith('#'));
  expect(files.length).toBeGreaterThanOrEqual(3);
  expect(await missingAmong(files)).toEqual([]);
  expect(links.filter((link) => link.startsWith('#') && !headings.has(link))).toEqual([]);
});

test('every npm script that is named exists', async () => {
  const { scripts } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as {
    scripts?: Record<string, string>;
  };
  const named = new Set([...readme.matchAll(/npm (?:run )?(\w+(?::\w+)*)/g)].map(([, name]) => name ?? ''));
  named.delete('ci');
  expect([...named]).toEqual(expect.arrayContaining(['start', 'test', 'demo', 'check', 'generate', 'bench']));
  expect([...named].filter((name) => scripts?.[name] === undefined)).toEqual([]);
});

test('every path in the layout exists, and no source folder is missing there', async () => {
  const paths = [...sectionOf('Where things are').matchAll(/^\| `([^`]+)`/gm)].map(([, file]) => file ?? '');
  expect(await missingAmong(paths)).toEqual([]);
  const children = await readdir(path.join(root, 'src'), { withFileTypes: true });
  const folders = children
    .filter((child) => child.isDirectory() && child.name !== 'generated')
    .map((child) => `src/${child.name}/`);
  expect(paths).toEqual(expect.arrayContaining([...folders, 'schema/', 'worker/', 'prisma/', 'test/']));
});

test('every delivery status and permission is explained', () => {
  const statuses = [...sectionOf('What delivery means').matchAll(/^\| `([A-Z]+)`/gm)].map(([, status]) => status);
  expect(statuses).toEqual([...deliveryStatuses]);
  for (const permission of permissions) expect(sectionOf('The API')).toContain(`\`${permission}\``);
});
