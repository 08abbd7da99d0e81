/** What `-o json` prints, command by command: docs/commands.md shows these, tests hold real output against them. */
import { z } from 'zod';
import { checkSchema } from './check.ts';
import { cleanupSchema } from './cleanup.ts';
import { planSchema } from './plan.ts';
import { statusSchema } from './status-schema.ts';
import { versionSchema } from './version.ts';

const problem = z.strictObject({
  path: z.string().describe('place in the input: config."10.50.0.100"."80".ipvsOptions.scheduler'),
  message: z.string(),
  line: z.int().optional().describe('1-based'),
});

export const validateSchema = z.strictObject({
  file: z.string(),
  valid: z.boolean(),
  errors: z.array(problem),
  warnings: z.array(problem),
  summary: z
    .strictObject({ nodes: z.int(), services: z.int(), vips: z.int(), virtualServices: z.int() })
    .nullable()
    .describe('null when the file is not valid'),
});

export const outputSchemas: Readonly<Record<string, z.ZodType>> = {
  plan: planSchema,
  status: statusSchema,
  validate: validateSchema,
  check: checkSchema,
  cleanup: cleanupSchema,
  version: versionSchema,
};

/** JSON Schema draft-07: what most validators understand. */
export const jsonSchemaOf = (schema: z.ZodType): Record<string, unknown> => z.toJSONSchema(schema, { target: 'draft-7' });
