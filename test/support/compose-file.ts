import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'yaml';

// docker-compose.yml as Compose reads it, as far as the tests need it.

/** A service of the file. */
export interface ComposeService {
  image: string;
  pull_policy?: string;
  build?: { context: string; dockerfile_inline: string };
  command?: string[];
  environment?: Record<string, string | number>;
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
  volumes?: string[];
  stop_grace_period?: string;
}

/** The file. */
export interface ComposeFile {
  services: Record<string, ComposeService>;
  volumes: Record<string, null>;
}

const file = path.resolve(import.meta.dirname, '../../docker-compose.yml');

/** Reads the file; merge keys are applied, variables are not. */
export async function readComposeFile(): Promise<ComposeFile> {
  return parse(await readFile(file, 'utf8'), { merge: true, uniqueKeys: true, version: '1.2' });
}

/** What Compose makes of `${NAME:-default}` and `${NAME:?message}` with these variables. Throws for one that is required. */
export function interpolate(value: string | number, variables: Readonly<Record<string, string>>): string {
  return String(value).replaceAll(/\$\{(\w+):([-?])([^}]*)\}/g, (_all, name: string, kind: string, word: string) => {
    const given = variables[name] ?? '';
    if (given !== '') return given;
    if (kind === '?') throw new Error(`${name}: ${word}`);
    return word;
  });
}
