import { limits } from '@alcove/base';
import { z } from 'zod';
import { TemplateName } from './rooms';

const commandLine = z.array(z.string().min(1).max(4096)).min(1).max(64);
const userName = z.string().regex(/^[a-z_][a-z0-9_-]{0,31}$/);

/** `alcove.template.json`: what a tenant writes to bring its own agent. */
export const TemplateRecipe = z
  .strictObject({
    name: TemplateName,
    start: commandLine,
    onFork: commandLine.optional(),
    port: z.literal(8080).default(8080),
    user: userName.default('user'),
    cwd: z.string().startsWith('/').default('/home/user'),
    env: z.record(z.string(), z.string()).default({}),
    cloneSafe: z.boolean().default(false),
    debianPackages: z.array(z.string().regex(/^[a-z0-9][a-z0-9.+-]+$/)).max(512).default([]),
    npmPackages: z.array(z.string().regex(/^(@[a-z0-9._-]+\/)?[a-z0-9._-]+(@[A-Za-z0-9._^~<>=*-]+)?$/)).max(128).default([]),
    files: z.array(z.strictObject({ from: z.string().min(1), to: z.string().startsWith('/'), mode: z.string().regex(/^0?[0-7]{3,4}$/).optional() })).max(1024).default([]),
    size: z
      .strictObject({
        memoryMiB: z.int().min(limits.room.memoryMiBMin).max(limits.room.memoryMiBMax).default(512),
        vcpus: z.int().min(1).max(limits.room.vcpusMax).default(1),
        diskMiB: z.int().min(64).max(limits.room.diskMiBMax).default(4096),
      })
      .prefault({}),
  })
  .meta({ id: 'TemplateRecipe' });
export type TemplateRecipe = z.infer<typeof TemplateRecipe>;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const stored = z.strictObject({ sha256, bytes: z.int().nonnegative() });

/** What a template is: content-addressed, immutable data beside the images. Its id is `tpl_` + the first 20 hex digits of the SHA-256 of this manifest without `id`, as canonical JSON. */
export const TemplateManifest = z
  .strictObject({
    version: z.literal(1),
    id: z.string().regex(/^tpl_[0-9a-f]{20}$/),
    name: TemplateName,
    builtAt: z.iso.datetime(),
    cloneSafe: z.boolean(),
    size: z.strictObject({ memoryMiB: z.int(), vcpus: z.int(), diskMiB: z.int() }),
    engine: z.strictObject({ driver: z.string(), build: z.string(), accelerator: z.string(), cpuModel: z.string(), protocol: z.int() }),
    files: z.record(z.string(), stored),
    port: z.int(),
    /** Run in a copy of a room once it has its own identity, before anything is served. Absent where there is none, so that older manifests keep their ids. */
    onFork: z.strictObject({ command: commandLine, user: userName, cwd: z.string().startsWith('/') }).optional(),
  })
  .meta({ id: 'TemplateManifest' });
export type TemplateManifest = z.infer<typeof TemplateManifest>;
