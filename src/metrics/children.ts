/**
 * Gives the function that makes a child for a label's value once and keeps it: what is counted often allocates no labels.
 * Only for values of which there are few.
 */
export function childrenOf<Value extends string, Child>(create: (value: Value) => Child): (value: Value) => Child {
  const children = new Map<Value, Child>();
  return (value) => {
    const known = children.get(value);
    if (known !== undefined) return known;
    const child = create(value);
    children.set(value, child);
    return child;
  };
}
