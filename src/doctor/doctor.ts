import { ConfigError, describeSettings, loadConfig } from '../config.ts';
import { examineDatabase } from './examine-database.ts';
import { examinePort } from './examine-port.ts';
import { examineQueue } from './examine-queue.ts';
import { examineRedis } from './examine-redis.ts';
import { examineSharing } from './examine-sharing.ts';
import { judgeStop } from './judge-settings.ts';
import type { Config } from '../config.ts';
import type { Finding } from '../finding.ts';

// src/doctor: `posthorn doctor`. Each file examines one thing that Posthorn stands on and gives findings, bad news included.
// Invariant: it changes nothing, ends by itself, and shows no secret. src/main.ts calls it.

type Env = Readonly<Record<string, string | undefined>>;

/** Examines everything, prints what was found, and gives whether nothing failed. */
export async function runDoctor(env: Env, json: boolean, print: (text: string) => void): Promise<boolean> {
  const findings = await examine(env);
  const ok = findings.every(({ status }) => status !== 'failed');
  print(json ? JSON.stringify({ ok, findings }) : reportOf(findings));
  return ok;
}

/** What is wrong with the settings; or, when they can be used, all there is to say of the servers that they name. */
async function examine(env: Env): Promise<Finding[]> {
  const check = 'settings';
  let config: Config;
  try {
    config = loadConfig(env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((message) => ({
      check,
      status: 'failed',
      message,
      remedy: 'Correct it in the environment.',
    }));
  }
  const message = `All ${describeSettings().length} settings can be used.`;
  const [{ findings, used }, redis, port] = await Promise.all([
    examineDatabase(config, async (databaseUrl) => [
      await examineQueue(config, databaseUrl),
      ...(await examineSharing(config, databaseUrl)),
    ]),
    examineRedis(config),
    examinePort(config),
  ]);
  return [{ check, status: 'ok', message, remedy: null }, judgeStop(config), ...findings, ...redis, ...used, port];
}

/** One line per finding, and one more for what to do. */
function reportOf(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, status, message, remedy }) => [
    `${status.padEnd(7)}  ${check.padEnd(width)}  ${message}`,
    ...(remedy === null ? [] : [`${' '.repeat(width + 11)}→ ${remedy}`]),
  ]);
  const counts = (['failed', 'warning', 'unknown', 'ok'] as const)
    .map((status) => `${findings.filter((finding) => finding.status === status).length} ${status}`)
    .join(', ');
  return [...lines, '', `${counts}.`].join('\n');
}
