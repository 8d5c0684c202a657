import { IncomingMessage } from 'node:http';
import { GraphQLError, validate } from 'graphql';
import { createYoga } from 'graphql-yoga';
import { parseAuthorization } from './credentials.ts';
import { createDocumentCache } from './document-cache.ts';
import { documentLimits } from './document-limits.ts';
import { introspectionIsOff, withoutSuggestion } from './introspection.ts';
import { useIntrospectionCache } from './introspection-cache.ts';
import { withExtensions } from './mask-error.ts';
import { createOperationAdmission } from './operation-admission.ts';
import { currentOperation } from './operation-scope.ts';
import { findPersistedOperation } from './persisted-operations.ts';
import { parseJsonBody, parseQueryString } from './request-params.ts';
import { useSharedSubscriptions } from './use-shared-subscriptions.ts';
import type { DocumentNode, GraphQLSchema } from 'graphql';
import type { Plugin, YogaServerInstance } from 'graphql-yoga';
import type { SchemaContext } from '../../schema/context.ts';
import type { Authenticated, Authentication } from './authentication.ts';
import type { GatewayLimits } from './limits.ts';
import type { ChargeOperation } from './operation-rate.ts';
import type { PersistedOperations } from './persisted-operations.ts';
import type { SharedSubscriptions } from './shared-subscriptions.ts';

/** The one path of every operation: HTTP and event streams call it as a handler, the WebSocket side by `getEnveloped`. */
export type GraphqlPipeline = YogaServerInstance<object, SchemaContext>;

export interface GraphqlPipelineOptions {
  schema: GraphQLSchema;
  authentication: Authentication;
  createContext: (caller: SchemaContext['caller'], requestId: string) => SchemaContext;
  maskError: (error: unknown) => GraphQLError;
  /** Null: operations are not charged for. */
  charge: ChargeOperation | null;
  introspection: boolean;
  /** The only ones that are executed; null: any. */
  persistedOperations: PersistedOperations | null;
  limits: GatewayLimits;
  subscriptions: SharedSubscriptions;
}

/** Text of documents that are kept parsed. */
const documentCharactersMax = 512 * 1024;

/** Creates the pipeline: limits, context, masking and bookkeeping are in it, so they hold on every transport alike. */
export function createGraphqlPipeline(options: GraphqlPipelineOptions): GraphqlPipeline {
  const admit = createOperationAdmission(options);
  return createYoga<object, SchemaContext>({
    schema: options.schema,
    // Between validation and execution, on either transport.
    context: async ({ params }) => {
      const scope = currentOperation();
      await admit(scope, params);
      const { lastEventId, trace } = scope;
      return { ...options.createContext(scope.caller, scope.requestId), lastEventId, traceParent: trace.place };
    },
    plugins: [
      useAuthentication(options.authentication),
      useRequestParams(),
      options.persistedOperations !== null && usePersistedOperations(options.persistedOperations),
      useDocumentLimits(options),
      useRateLimitStatus(),
      useSharedSubscriptions(options.subscriptions),
      useIntrospectionCache(),
    ],
    maskedErrors: {
      // Several errors at once come here again, one by one.
      maskError: (error) => (error instanceof AggregateError ? error : options.maskError(error)),
      errorMessage: 'Unexpected error',
    },
    maxRequestBodySize: options.limits.messageBytesMax,
    // An error belongs to one request and is counted there, so none is kept.
    parserAndValidationCache: {
      documentCache: createDocumentCache(documentCharactersMax),
      errorCache: { get: () => undefined, set: () => undefined },
    },
    batching: false,
    multipart: false,
    graphiql: false,
    landingPage: false,
    cors: false,
    logging: false,
  });
}

/** HTTP only: over WebSocket the key comes with the connection. */
function useAuthentication(authentication: Authentication): Plugin {
  return {
    async onRequestParse({ request, serverContext }) {
      const credentials = parseAuthorization(request.headers.get('authorization'));
      const result = await authentication(credentials, remoteAddress(serverContext));
      if (result.kind !== 'accepted') throw authenticationError(result);
      currentOperation().caller = result.caller;
    },
  };
}

/** Where the request came from: Yoga's handler keeps what Node gave it. */
function remoteAddress(serverContext: object): string {
  const request: unknown = 'req' in serverContext ? serverContext.req : null;
  return (request instanceof IncomingMessage && request.socket.remoteAddress) || '';
}

function authenticationError(failure: Exclude<Authenticated, { kind: 'accepted' }>): GraphQLError {
  const extensions =
    failure.kind === 'refused'
      ? { code: 'UNAUTHENTICATED', http: { status: 401, headers: { 'www-authenticate': 'Bearer' } } }
      : { code: 'RATE_LIMITED', http: { status: 429, headers: { 'retry-after': String(failure.retryAfterSeconds) } } };
  return new GraphQLError(failure.message, { extensions });
}

/** HTTP only: over WebSocket the library reads its messages itself. */
function useRequestParams(): Plugin {
  return {
    onRequestParse({ request, setRequestParser }) {
      if (request.method === 'POST') setRequestParser(parseJsonBody);
      if (request.method === 'GET') setRequestParser(parseQueryString);
    },
  };
}

/** HTTP only: the WebSocket side asks for its documents itself. */
function usePersistedOperations(operations: PersistedOperations): Plugin {
  return {
    onParams({ params, setParams }) {
      const resolved = { ...params, query: findPersistedOperation(operations, params), documentId: undefined };
      setParams(resolved);
    },
  };
}

function useDocumentLimits({ limits, introspection }: GraphqlPipelineOptions): Plugin {
  const rules = [documentLimits(limits), ...(introspection ? [] : [introspectionIsOff])];
  const fitting = new WeakSet<DocumentNode>();
  return {
    onParse({ parseFn, setParseFn }) {
      const { tokensMax } = limits;
      setParseFn((source: string, options?: object) => {
        try {
          return parseFn(source, { ...options, maxTokens: tokensMax });
        } catch (error) {
          // The parser descends once per level and runs out of stack before there is a document to measure.
          throw error instanceof RangeError ? new GraphQLError('Parsing aborted: nested too deeply.') : error;
        }
      });
      return ({ result, replaceParseResult }) => {
        if (!(result instanceof GraphQLError)) {
          currentOperation().document = result instanceof Error ? null : result;
          return;
        }
        const tooLong = result.message.includes('Parsing aborted');
        const code = tooLong ? 'QUERY_TOO_COMPLEX' : 'BAD_USER_INPUT';
        replaceParseResult(withExtensions(result, { code, http: { status: 400, spec: true } }));
      };
    },
    onValidate({ params: { schema, documentAST }, setResult }) {
      const excess = fitting.has(documentAST) ? [] : validate(schema, documentAST, rules);
      if (excess.length > 0) setResult([...excess]);
      else fitting.add(documentAST);
      return ({ result }) => {
        const { errorCodes } = currentOperation();
        for (const error of result) {
          error.extensions['code'] ??= 'BAD_USER_INPUT';
          errorCodes.add(String(error.extensions['code']));
          if (!introspection) error.message = withoutSuggestion(error.message);
        }
      };
    },
  };
}

/** Says in `extensions` what the caller's key has left, in results and, over HTTP, in refusals before there is one. */
function useRateLimitStatus(): Plugin {
  return {
    onExecute: () => ({
      onExecuteDone({ result, setResult }) {
        if (!isStream(result)) setResult(withRateLimit(result));
      },
    }),
    onExecutionResult(payload) {
      const { result } = payload;
      if (result !== undefined && !isStream(result)) payload.setResult(withRateLimit(result));
    },
  };
}

function withRateLimit<Result extends object>(result: Result): Result {
  const { rateLimit } = currentOperation();
  if (rateLimit === null) return result;
  const extensions = 'extensions' in result ? result.extensions : {};
  return { ...result, extensions: { ...(typeof extensions === 'object' ? extensions : {}), rateLimit } };
}

function isStream(result: object): boolean {
  return Symbol.asyncIterator in result;
}
