/** The keys of a schema as a plain tree: for telling which key a misspelt one was meant to be. */
import { z } from 'zod';

export type Shape =
  | { readonly kind: 'object'; readonly keys: ReadonlyMap<string, Shape>; readonly byLowerCase: ReadonlyMap<string, string> }
  | { readonly kind: 'map'; readonly value: Shape }
  | { readonly kind: 'list'; readonly item: Shape }
  | { readonly kind: 'leaf' };

/** Follows objects, records, arrays and what may be absent; anything else is a leaf. */
export function shapeOf(schema: z.core.$ZodType): Shape {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable || schema instanceof z.ZodDefault) return shapeOf(schema.unwrap());
  if (schema instanceof z.ZodArray) return { kind: 'list', item: shapeOf(schema.element) };
  if (schema instanceof z.ZodRecord) return { kind: 'map', value: shapeOf(schema.valueType) };
  if (!(schema instanceof z.ZodObject)) return { kind: 'leaf' };
  const keys = new Map(Object.entries(schema.shape as Record<string, z.core.$ZodType>).map(([key, value]) => [key, shapeOf(value)]));
  return { kind: 'object', keys, byLowerCase: new Map([...keys.keys()].map((key) => [key.toLowerCase(), key])) };
}
