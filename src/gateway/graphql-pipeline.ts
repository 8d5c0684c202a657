import { getOperationAST, getVariableValues, GraphQLError } from 'graphql';
import { createYoga } from 'graphql-yoga';
import { parseAuthorization } from './credentials.ts';
import { documentLimits } from './document-limits.ts';
import { withExtensions } from './mask-error.ts';
import { currentOperation } from './operation-scope.ts';
import { useSharedSubscriptions } from './use-shared-subscriptions.ts';
import type { ExecutionArgs, GraphQLSchema } from 'graphql';
import type { Plugin, YogaServerInstance } from 'graphql-yoga';
import type { Caller, SchemaContext } from '../../schema/context.ts';
import type { GatewayLimits } from './limits.ts';
import type { SharedSubscriptions } from './shared-subscriptions.ts';

/** Gives who holds an API key, or null when nobody does (any more). */
export type Authenticate = (key: string) => Promise<Caller | null>;

/** The one path of every operation: HTTP and event streams call it as a handler, the WebSocket side by `getEnveloped`. */
export type GraphqlPipeline = YogaServerInstance<object, SchemaContext>;

export interface GraphqlPipelineOptions {
  schema: GraphQLSchema;
  authenticate: Authenticate;
  createContext: (caller: Caller | null, requestId: string) => SchemaContext;
  maskError: (error: unknown) => GraphQLError;
  limits: GatewayLimits;
  subscriptions: SharedSubscriptions;
}

/** Creates the pipeline: limits, context, masking and bookkeeping are in it, so they hold on every transport alike. */
export function createGraphqlPipeline(options: GraphqlPipelineOptions): GraphqlPipeline {
  return createYoga<object, SchemaContext>({
    schema: options.schema,
    context: () => {
      const { caller, requestId, lastEventId } = currentOperation();
      return { ...options.createContext(caller, requestId), lastEventId };
    },
    plugins: [
      useAuthentication(options.authenticate),
      useDocumentLimits(options.limits),
      useOperationScope(),
      useSharedSubscriptions(options.subscriptions),
    ],
    maskedErrors: { maskError: options.maskError, errorMessage: 'Unexpected error' },
    maxRequestBodySize: options.limits.messageBytesMax,
    // An error belongs to one request and is counted there, so none is kept.
    parserAndValidationCache: { errorCache: { get: () => undefined, set: () => undefined } },
    batching: false,
    multipart: false,
    graphiql: false,
    landingPage: false,
    cors: false,
    logging: false,
  });
}

/** HTTP only: over WebSocket the key comes with the connection. */
function useAuthentication(authenticate: Authenticate): Plugin {
  return {
    async onRequestParse({ request }) {
      const credentials = parseAuthorization(request.headers.get('authorization'));
      if (credentials.kind === 'none') return;
      const caller = credentials.kind === 'key' ? await authenticate(credentials.key) : null;
      if (caller === null) {
        const http = { status: 401, headers: { 'www-authenticate': 'Bearer' } };
        const message = 'This API key is not valid: it is unknown, expired or revoked.';
        throw new GraphQLError(message, { extensions: { code: 'UNAUTHENTICATED', http } });
      }
      currentOperation().caller = caller;
    },
  };
}

function useDocumentLimits(limits: GatewayLimits): Plugin {
  const rule = documentLimits(limits);
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
        if (!(result instanceof GraphQLError)) return;
        const tooLong = result.message.includes('Parsing aborted');
        const code = tooLong ? 'QUERY_TOO_COMPLEX' : 'BAD_USER_INPUT';
        replaceParseResult(withExtensions(result, { code, http: { status: 400, spec: true } }));
      };
    },
    onValidate({ addValidationRule }) {
      addValidationRule(rule);
      return ({ result }) => {
        const { errorCodes } = currentOperation();
        for (const error of result) {
          error.extensions['code'] ??= 'BAD_USER_INPUT';
          errorCodes.add(String(error.extensions['code']));
        }
      };
    },
  };
}

/**
 * Tells the operation's scope what it turned out to be, and refuses variables that do not fit their types: the
 * executor does so too, but without a code that would tell the caller's mistake from ours.
 */
function useOperationScope(): Plugin {
  return {
    onExecute: ({ args, setResultAndStopExecution }) => {
      const errors = begin(args);
      if (errors.length > 0) setResultAndStopExecution({ errors });
    },
    onSubscribe: ({ args, setResultAndStopExecution }) => {
      const errors = begin(args);
      if (errors.length > 0) setResultAndStopExecution({ errors });
    },
  };
}

function begin({ schema, document, operationName, variableValues }: ExecutionArgs): GraphQLError[] {
  const scope = currentOperation();
  const operation = getOperationAST(document, operationName);
  scope.operationName = operation?.name?.value ?? null;
  scope.operationType = operation?.operation ?? null;
  const { errors = [] } = getVariableValues(schema, operation?.variableDefinitions ?? [], variableValues ?? {}, {
    maxErrors: 10,
  });
  const extensions = { code: 'BAD_USER_INPUT', http: { status: 400, spec: true } };
  return errors.map((error) => withExtensions(error, extensions));
}
