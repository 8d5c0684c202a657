import { access, readFile } from 'node:fs/promises';
import { Script } from 'node:vm';
import { beforeAll, describe, expect, test } from 'vitest';
import { describeSettings, loadConfig } from '../../src/config.ts';
import { interpolate, readComposeFile } from '../support/compose-file.ts';
import type { ComposeFile, ComposeService } from '../support/compose-file.ts';

let compose: ComposeFile;

beforeAll(async () => {
  compose = await readComposeFile();
});

/** With nothing set but the encryption key. */
const variables = { POSTHORN_ENCRYPTION_KEYS: `k1:${Buffer.alloc(32).toString('base64')}` };

/** What can be waited for: a service's health, or the end of one that has none. */
function conditionOf(service: ComposeService | undefined): string | null {
  if (service === undefined) return null;
  return service.healthcheck === undefined ? 'service_completed_successfully' : 'service_healthy';
}

const posthornServices = ['migrate', 'gateway', 'worker'];

describe('docker-compose.yml', () => {
  test('has the services of the production layout', () => {
    expect(Object.keys(compose.services).sort()).toEqual([
      'gateway',
      'migrate',
      'postgres',
      'redis-durable',
      'redis-volatile',
      'worker',
    ]);
  });

  test.each(posthornServices)('gives %s only settings that exist, and they make a usable configuration', (name) => {
    const environment = compose.services[name]?.environment ?? {};
    const known = new Set(describeSettings().map((setting) => setting.name));
    expect(Object.keys(environment).filter((setting) => !known.has(setting))).toEqual([]);
    const values = Object.entries(environment).map(([setting, value]) => [setting, interpolate(value, variables)]);
    const config = loadConfig(Object.fromEntries(values));
    expect(config.databaseUrl?.reveal()).toBe('postgresql://posthorn:posthorn@postgres:5432/posthorn');
    expect(config.redis?.durableUrl.reveal()).toBe('redis://redis-durable:6379');
    expect(config.redis?.volatileUrl.reveal()).toBe('redis://redis-volatile:6379');
    expect(config.requireHttps).toBe(true);
    expect(config.allowedCidrs).toEqual([]);
  });

  test.each(posthornServices)('runs %s by the command of that name, in the image that is built here', (name) => {
    expect(compose.services[name]?.command).toEqual([name]);
    // One of that name in a registry would be somebody else's.
    expect(compose.services[name]).toMatchObject({ image: 'posthorn', pull_policy: 'build', build: { context: '.' } });
    expect(compose.services[name]?.build).toEqual(compose.services['gateway']?.build);
  });

  test.each([
    ['gateway', 'PORT'],
    ['worker', 'WORKER_PORT'],
  ])('asks the %s whether it is ready, at the port that it is given', (name, setting) => {
    const { environment = {}, healthcheck } = compose.services[name] ?? {};
    expect(environment[setting]).toEqual(expect.any(Number));
    const [how, program, option, script = ''] = healthcheck?.test ?? [];
    expect([how, program, option]).toEqual(['CMD', 'node', '-e']);
    expect(() => new Script(script)).not.toThrow();
    expect(script).toContain(`fetch('http://127.0.0.1:${environment[setting]}/ready')`);
  });

  test('gives gateways and workers longer to stop than they take at most', () => {
    const delay = compose.services['gateway']?.environment?.['POSTHORN_STOP_DELAY'];
    const graceSeconds = (name: string): number => Number.parseInt(compose.services[name]?.stop_grace_period ?? '', 10);
    // What is under way has 15 s, a worker's aborted attempts 5 s more, the connections that are left some.
    expect(graceSeconds('gateway')).toBeGreaterThan(Number(delay) + 20);
    expect(graceSeconds('worker')).toBeGreaterThan(20);
  });

  test('keeps the queue in a Redis that appends to disk and evicts nothing', () => {
    const command = compose.services['redis-durable']?.command?.join(' ');
    expect(command).toContain('--appendonly yes');
    expect(command).toContain('--maxmemory-policy noeviction');
    expect(compose.services['redis-durable']?.volumes).toEqual(['redis-durable:/data']);
  });

  test('checks health by commands of which every word is a text', () => {
    for (const { healthcheck } of Object.values(compose.services)) {
      for (const word of healthcheck?.test ?? []) expect(word).toBeTypeOf('string');
    }
  });

  test('starts nothing before what it needs: each dependency exists and can meet its condition', () => {
    const unmet = Object.entries(compose.services).flatMap(([name, service]) =>
      Object.entries(service.depends_on ?? {})
        .filter(([needed, { condition }]) => condition !== conditionOf(compose.services[needed]))
        .map(([needed, { condition }]) => `${name} waits for ${needed}: ${condition}`),
    );
    expect(unmet).toEqual([]);
    expect(Object.keys(compose.services['worker']?.depends_on ?? {})).toContain('migrate');
    expect(Object.keys(compose.services['migrate']?.depends_on ?? {}).sort()).toEqual([
      'postgres',
      'redis-durable',
      'redis-volatile',
    ]);
  });

  test('declares every named volume that a service mounts, and no other', () => {
    const mounted = Object.values(compose.services)
      .flatMap((service) => service.volumes ?? [])
      .map((volume) => volume.split(':')[0] ?? '')
      .filter((source) => !source.startsWith('.'));
    expect([...new Set(mounted)].sort()).toEqual(Object.keys(compose.volumes).sort());
  });
});

/** A stage of a Dockerfile: where it starts from, and its instructions in order. */
interface Stage {
  from: string;
  name: string;
  instructions: { name: string; rest: string }[];
}

function stagesOf(dockerfile: string): Stage[] {
  const stages: Stage[] = [];
  const lines = dockerfile.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
  for (const line of lines) {
    const [name = '', ...words] = line.split(' ');
    if (name === 'FROM') stages.push({ from: words[0] ?? '', name: words[2] ?? '', instructions: [] });
    else stages.at(-1)?.instructions.push({ name, rest: words.join(' ') });
  }
  return stages;
}

const root = new URL('../../', import.meta.url);

describe('the image', () => {
  let stages: Stage[];
  let last: Stage | undefined;

  beforeAll(() => {
    stages = stagesOf(compose.services['gateway']?.build?.dockerfile_inline ?? '');
    last = stages.at(-1);
  });

  function restsOf(stage: Stage | undefined, name: string): string[] {
    return (stage?.instructions ?? []).filter((given) => given.name === name).map(({ rest }) => rest);
  }

  test('is made in stages from the slim Node 24, of instructions that Docker has', () => {
    expect(stages.map(({ from, name }) => [from, name])).toEqual([
      ['node:24-slim', 'build'],
      ['node:24-slim', 'packages'],
      ['node:24-slim', ''],
    ]);
    const known = new Set(['CMD', 'COPY', 'ENTRYPOINT', 'ENV', 'RUN', 'USER', 'WORKDIR']);
    const names = stages.flatMap(({ instructions }) => instructions.map(({ name }) => name));
    expect(names.filter((name) => !known.has(name))).toEqual([]);
  });

  test('copies only what the repository has, and from a stage only what that stage has', async () => {
    const copies = stages.flatMap((stage) => restsOf(stage, 'COPY'));
    const ofRepository = copies
      .filter((rest) => !rest.startsWith('--'))
      .flatMap((rest) => rest.split(' ').slice(0, -1));
    expect(ofRepository.length).toBeGreaterThan(5);
    await Promise.all(ofRepository.map(async (source) => await access(new URL(source, root))));
    const ofStages = copies
      .map((rest) => /^--from=(\w+) \/app\/(\S+) \2$/.exec(rest))
      .filter((match) => match !== null);
    expect(ofStages).toHaveLength(copies.filter((rest) => rest.startsWith('--')).length);
    const missing = ofStages.filter(([, from, source]) => {
      const stage = stages.find(({ name }) => name === from);
      const has = restsOf(stage, 'COPY').some((rest) => rest.split(' ').includes(source ?? ''));
      return !has && !(source === 'node_modules' && restsOf(stage, 'RUN').some((rest) => rest.startsWith('npm ci')));
    });
    expect(missing).toEqual([]);
  });

  test('has what runs and nothing to build it with, and runs as a user without rights', () => {
    const installs = restsOf(stages[1], 'RUN');
    expect(installs).toEqual(['npm ci --omit=dev --omit=optional --ignore-scripts']);
    const copied = restsOf(last, 'COPY').map((rest) => rest.split(' ').at(-1));
    expect(copied).toEqual(['./', 'node_modules', 'prisma', 'schema', 'src', 'worker']);
    expect(restsOf(last, 'RUN')).toEqual([]);
    expect(last?.instructions.slice(-3).map(({ name }) => name)).toEqual(['USER', 'ENTRYPOINT', 'CMD']);
    expect(restsOf(last, 'USER')).toEqual(['node']);
  });

  test('starts a file that is there, by npm scripts and commands that exist', async () => {
    const [entry = '[]'] = restsOf(last, 'ENTRYPOINT');
    const [node, option, file] = JSON.parse(entry) as string[];
    expect([node, option, file]).toEqual(['node', '--max-semi-space-size=16', 'src/main.ts']);
    const main = await readFile(new URL('src/main.ts', root), 'utf8');
    const [command = '[]'] = restsOf(last, 'CMD');
    for (const name of [...(JSON.parse(command) as string[]), ...posthornServices]) {
      expect(main).toContain(`.command('${name}')`);
    }
    const { scripts } = JSON.parse(await readFile(new URL('package.json', root), 'utf8')) as { scripts: object };
    const commands = stages.flatMap((stage) => restsOf(stage, 'RUN')).join('\n');
    const run = [...commands.matchAll(/npm run (\S+)/g)].map(([, name]) => name);
    expect(run).toEqual(['generate:client', 'generate:operations']);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(run));
  });
});
