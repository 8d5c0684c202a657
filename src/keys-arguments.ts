import { isNameText, nameRequirement } from '../schema/input-text.ts';
import { findId } from './domain/ids.ts';
import { isPermission, permissions } from './domain/permissions.ts';
import type { ApiKeyId, ProjectId } from './domain/ids.ts';
import type { ApiKeyInput } from './store/api-keys.ts';

const dayMs = 24 * 60 * 60 * 1000;
const expiresInDaysMax = 36_500;

/** `posthorn keys create` as it was typed. */
export interface CreateOptions {
  project?: string;
  newProject?: string;
  name: string;
  permissions: string;
  expiresInDays?: string;
  json?: true;
}

/** The key to make, and whose it is to be. */
export interface KeyToCreate extends ApiKeyInput {
  project: { kind: 'known'; id: ProjectId } | { kind: 'new'; name: string };
}

/** Reads the options. Throws one sentence that names the option and its value. */
export function parseKeysCreate(options: CreateOptions, now: Date): KeyToCreate {
  return {
    project: parseProject(options),
    name: parseName('--name', options.name),
    permissions: parsePermissions(options.permissions),
    expiresAt: options.expiresInDays === undefined ? null : parseExpiry(options.expiresInDays, now),
  };
}

/** Reads `--project`. Throws one sentence that names it and its value. */
export function parseProjectId(text: string): ProjectId {
  const id = findId('project', text);
  if (id === null) throw new Error(`--project ${JSON.stringify(text)} must be the id of a project, prj_….`);
  return id;
}

/** Reads a key's id. Throws one sentence that names it; a key's own text, which may have been pasted here, is not shown. */
export function parseKeyId(text: string): ApiKeyId {
  const id = findId('apiKey', text);
  if (id !== null) return id;
  if (text.startsWith('phk_')) throw new Error("<id> must be the API key's id, key_…, and not its text, phk_….");
  throw new Error(`<id> ${JSON.stringify(text)} must be the id of an API key, key_….`);
}

function parseProject({ project, newProject }: CreateOptions): KeyToCreate['project'] {
  if (project !== undefined && newProject === undefined) return { kind: 'known', id: parseProjectId(project) };
  if (project === undefined && newProject !== undefined) {
    return { kind: 'new', name: parseName('--new-project', newProject) };
  }
  throw new Error('Either --project <id> or --new-project <name> must be given: the project that the key is for.');
}

function parseName(option: string, text: string): string {
  if (isNameText(text)) return text;
  throw new Error(`${option} ${JSON.stringify(text.slice(0, 200))} must be ${nameRequirement}.`);
}

function parsePermissions(text: string): ApiKeyInput['permissions'] {
  const names = text.split(',').map((name) => name.trim());
  const known = names.filter(isPermission);
  if (known.length === names.length) return [...new Set(known)];
  throw new Error(`--permissions ${JSON.stringify(text)} must be some of ${permissions.join(', ')}, joined by commas.`);
}

function parseExpiry(text: string, now: Date): Date {
  const days = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (days > 0 && days <= expiresInDaysMax) return new Date(now.getTime() + days * dayMs);
  throw new Error(`--expires-in-days ${JSON.stringify(text)} must be a number above 0, at most ${expiresInDaysMax}.`);
}
