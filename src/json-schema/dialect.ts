import { Ajv, type Options } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';

/** A version of JSON Schema. */
export interface Dialect {
  /** Checks that a schema is one. */
  metaSchema: Ajv;
  /** Makes what compiles one schema, and only that one: schemas in one ajv could see each other by `$id`. */
  createCompiler: () => Ajv;
}

// Unknown keywords and formats are errors, since they would be checked by nobody. Only own properties count: data without
// `constructor` has none. `$data` stays off, and so does collecting all errors, which could fill the memory.
const options: Options = {
  strict: true,
  strictTypes: false,
  strictTuples: false,
  strictRequired: false,
  ownProperties: true,
  verbose: true,
  inlineRefs: false,
  logger: false,
  // Optimising the code took longer than all else: 800 ms of compiling 56 KiB against 345 without.
  code: { optimize: false },
};
const compilerOptions: Options = { ...options, meta: false, validateSchema: false };

/** Keywords that ajv follows but does not name. */
const anchors = ['$anchor'];

const draft07 = dialect((given) => new Ajv(given));
const draft202012 = dialect((given) => new Ajv2020(given));

const dialects = new Map<unknown, Dialect>([
  [undefined, draft202012],
  ['https://json-schema.org/draft/2020-12/schema', draft202012],
  ['https://json-schema.org/draft/2020-12/schema#', draft202012],
  ['http://json-schema.org/draft-07/schema', draft07],
  ['http://json-schema.org/draft-07/schema#', draft07],
]);

/** The dialect that a schema's `$schema` names, 2020-12 when it names none; null when it is not known. */
export function findDialect(name: unknown): Dialect | null {
  return dialects.get(name) ?? null;
}

function dialect(create: (given: Options) => Ajv): Dialect {
  let metaSchema: Ajv | null = null;
  return {
    get metaSchema() {
      if (metaSchema !== null) return metaSchema;
      metaSchema = create({ strict: false, logger: false });
      // Compiles it, in 50 ms, now: later it would be in a box, which can stop it halfway.
      void metaSchema.validateSchema({});
      return metaSchema;
    },
    createCompiler: () => formats.default(create(compilerOptions).addVocabulary(anchors)),
  };
}
