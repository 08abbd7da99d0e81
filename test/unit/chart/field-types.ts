/**
 * Whether a manifest has only fields that the Kubernetes API knows, each of its type: the API server drops what it does not
 * know in silence. The tables are those of the client library, made from the OpenAPI document of the API.
 */
import * as kubernetes from '@kubernetes/client-node';

interface Attribute {
  /** As in JSON. */
  readonly baseName: string;
  /** `string`, `Array<V1Container>`, `{ [key: string]: string; }`, `V1PodSpec`, … */
  readonly type: string;
}

const library = kubernetes as unknown as Readonly<Record<string, unknown>>;

function attributesOf(type: string): readonly Attribute[] | undefined {
  const model = library[type] as { getAttributeTypeMap?: () => Attribute[] } | undefined;
  return model?.getAttributeTypeMap?.();
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const scalars: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  Date: (value) => typeof value === 'string',
  IntOrString: (value) => typeof value === 'string' || Number.isInteger(value),
  any: () => true,
  object: isMap,
};

/** One line for each field that is unknown or of another type; throws for a type that the library does not have. */
export function fieldProblems(value: unknown, type: string, path: string): string[] {
  const scalar = scalars[type];
  if (scalar !== undefined) return scalar(value) ? [] : [`${path}: ${JSON.stringify(value)} is no ${type}`];
  const item = /^Array<(.+)>$/.exec(type)?.[1];
  if (item !== undefined) {
    if (!Array.isArray(value)) return [`${path}: is no list`];
    return value.flatMap((element: unknown, index) => fieldProblems(element, item, `${path}[${index}]`));
  }
  const entry = /^\{ \[key: string\]: (.+); \}$/.exec(type)?.[1];
  if (!isMap(value)) return [`${path}: is no map`];
  if (entry !== undefined) return Object.entries(value).flatMap(([key, element]) => fieldProblems(element, entry, `${path}.${key}`));
  const attributes = attributesOf(type);
  if (attributes === undefined) throw new Error(`${path}: the client library has no type ${type}`);
  return Object.entries(value).flatMap(([key, element]) => {
    const attribute = attributes.find(({ baseName }) => baseName === key);
    return attribute === undefined
      ? [`${path}.${key}: ${type} has no such field`]
      : fieldProblems(element, attribute.type, `${path}.${key}`);
  });
}
