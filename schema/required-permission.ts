import SchemaBuilder, {
  BasePlugin,
  type BuildCache,
  type FieldNullability,
  type InputFieldMap,
  type PothosOutputFieldConfig,
  PothosSchemaError,
  type SchemaTypes,
  type TypeParam,
} from '@pothos/core';
import type { GraphQLFieldResolver } from 'graphql';
import { isPermission, type Permission } from '../src/domain/permissions.ts';
import type { SchemaContext } from './context.ts';
import { callerOf, requireAdministrator, requirePermission } from './caller.ts';

// Every field of Query, Mutation and Subscription names the permission it needs, or the administrator (`needs`). It cannot be forgotten: the
// option's type demands it, and building the schema fails without it. It is checked before the field's resolver runs;
// for a subscription before it starts, and again for every item.

const pluginName = 'requiredPermission';

/** What a root field asks of its caller. */
type Needs = Permission | 'ADMINISTRATOR';

declare global {
  // oxlint-disable-next-line typescript/no-namespace -- how Pothos lets a plugin declare options
  export namespace PothosSchemaTypes {
    export interface Plugins<Types extends SchemaTypes> {
      requiredPermission: RequiredPermissionPlugin<Types>;
    }

    export interface QueryFieldOptions<
      Types extends SchemaTypes,
      Type extends TypeParam<Types>,
      Nullable extends FieldNullability<Type>,
      Args extends InputFieldMap,
      ResolveReturnShape,
    > {
      /** What the caller's API key must be allowed, or that only the administrator may ask. */
      needs: Needs;
    }

    export interface MutationFieldOptions<
      Types extends SchemaTypes,
      Type extends TypeParam<Types>,
      Nullable extends FieldNullability<Type>,
      Args extends InputFieldMap,
      ResolveReturnShape,
    > {
      /** What the caller's API key must be allowed, or that only the administrator may ask. */
      needs: Needs;
    }

    export interface SubscriptionFieldOptions<
      Types extends SchemaTypes,
      Type extends TypeParam<Types>,
      Nullable extends FieldNullability<Type>,
      Args extends InputFieldMap,
      ResolveShape,
      ResolveReturnShape,
    > {
      /** What the caller's API key must be allowed, or that only the administrator may ask. */
      needs: Needs;
    }
  }
}

type FieldResolver<Types extends SchemaTypes> = GraphQLFieldResolver<unknown, Types['Context'], object>;

/** Adds `needs` to root fields and enforces it. */
export class RequiredPermissionPlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  constructor(cache: BuildCache<Types>) {
    super(cache, pluginName);
  }

  override onOutputFieldConfig(field: PothosOutputFieldConfig<Types>): PothosOutputFieldConfig<Types> {
    if (!isRootField(field)) return field;
    return { ...field, extensions: { ...field.extensions, needs: neededPermission(field) } };
  }

  override wrapResolve(resolve: FieldResolver<Types>, field: PothosOutputFieldConfig<Types>): FieldResolver<Types> {
    return isRootField(field) ? guarded(resolve, neededPermission(field)) : resolve;
  }

  override wrapSubscribe(
    subscribe: FieldResolver<Types> | undefined,
    field: PothosOutputFieldConfig<Types>,
  ): FieldResolver<Types> | undefined {
    return subscribe === undefined ? undefined : guarded(subscribe, neededPermission(field));
  }
}

function guarded<Types extends SchemaTypes>(resolve: FieldResolver<Types>, needs: Needs): FieldResolver<Types> {
  return (root, args, context, info) => {
    if (!isSchemaContext(context)) throw new TypeError('the context value is no SchemaContext');
    if (needs === 'ADMINISTRATOR') requireAdministrator(context);
    else requirePermission(callerOf(context), needs);
    return resolve(root, args, context, info);
  };
}

function isSchemaContext(context: object): context is SchemaContext {
  return 'caller' in context && 'database' in context;
}

function isRootField(field: { kind: string }): boolean {
  return field.kind === 'Query' || field.kind === 'Mutation' || field.kind === 'Subscription';
}

function neededPermission(field: { parentType: string; name: string; pothosOptions: object }): Needs {
  const needs = 'needs' in field.pothosOptions ? field.pothosOptions.needs : undefined;
  if (typeof needs === 'string' && (needs === 'ADMINISTRATOR' || isPermission(needs))) return needs;
  throw new PothosSchemaError(`${field.parentType}.${field.name} does not say which permission it needs`);
}

SchemaBuilder.registerPlugin(pluginName, RequiredPermissionPlugin);

/** The name that the builder loads the plugin by. */
export default pluginName;
