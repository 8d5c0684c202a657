import { type GraphQLResolveInfo, Kind, type SelectionSetNode } from 'graphql';

/**
 * Whether the operation asks for the field somewhere below the one that is being resolved, along one of the paths of field
 * names. What it leaves out by a variable counts as asked for.
 */
export function isSelected(info: GraphQLResolveInfo, paths: readonly (readonly string[])[]): boolean {
  const sets = info.fieldNodes.flatMap(({ selectionSet }) => selectionSet ?? []);
  return paths.some((path) => sets.some((set) => hasPath(info, set, path)));
}

function hasPath(info: GraphQLResolveInfo, { selections }: SelectionSetNode, path: readonly string[]): boolean {
  const [name, ...rest] = path;
  return selections.some((selection) => {
    if (selection.kind === Kind.INLINE_FRAGMENT) return hasPath(info, selection.selectionSet, path);
    if (selection.kind === Kind.FRAGMENT_SPREAD) {
      const fragment = info.fragments[selection.name.value];
      return fragment !== undefined && hasPath(info, fragment.selectionSet, path);
    }
    if (selection.name.value !== name) return false;
    return rest.length === 0 || (selection.selectionSet !== undefined && hasPath(info, selection.selectionSet, rest));
  });
}
