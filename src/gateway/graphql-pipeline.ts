import { IncomingMessage } from 'node:http';
import { getOperationAST, getVariableValues, GraphQLError } from 'graphql';
import { createYoga } from 'graphql-yoga';
import { parseAuthorization } from './credentials.ts';
import { documentLimits } from './document-limits.ts';
import { withExtensions } from './mask-error.ts';
import { currentOperation } from './operation-scope.ts';
import type { ExecutionArgs, GraphQLSchema } from 'graphql';
import type { Plugin, YogaServerInstance } from 'graphql-yoga';
import type { SchemaContext } from '../../schema/context.ts';
import type { Authenticated, Authentication } from './authentication.ts';
import type { GatewayLimits } from './limits.ts';

/** The one path of every operation: HTTP and event streams call it as a handler, the WebSocket side by `getEnveloped`. */
export type GraphqlPipeline = YogaServerInstance<object, SchemaContext>;

export interface GraphqlPipelineOptions {
  schema: GraphQLSchema;
  authentication: Authentication;
  createContext: (caller: SchemaContext['caller'], requestId: string) => SchemaContext;
  maskError: (error: unknown) => GraphQLError;
  limits: GatewayLimits;
}

/** Creates the pipeline: limits, context, masking and bookkeeping are in it, so they hold on every transport alike. */
export function createGraphqlPipeline(options: GraphqlPipelineOptions): GraphqlPipeline {
  return createYoga<object, SchemaContext>({
    schema: options.schema,
    context: () => {
      const { caller, requestId } = currentOperation();
      return options.createContext(caller, requestId);
    },
    plugins: [useAuthentication(options.authentication), useDocumentLimits(options.limits), useOperationScope()],
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
