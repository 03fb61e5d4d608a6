import { createHash } from 'node:crypto';
import type { TemplateManifest } from '@alcove/contracts';

/** A template's files, by the names they have in its folder. */
export const templateFiles = ['mem', 'state', 'vmlinuz', 'initrd.img', 'rootfs.erofs', 'disk.ext4'] as const;

export const manifestFile = 'manifest.json';

/** JSON with the keys of every object in order: equal values give equal text. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value as Record<string, unknown>).filter(([, entry]) => entry !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, entry]) => `${JSON.stringify(key)}:${canonicalJson(entry)}`).join(',')}}`;
}

/** A template is named by its content: the first 20 hex digits of the SHA-256 of the manifest without its id. */
export function templateIdOf(manifest: Omit<TemplateManifest, 'id'>): string {
  const { id: _, ...content } = manifest as TemplateManifest;
  return `tpl_${createHash('sha256').update(canonicalJson(content)).digest('hex').slice(0, 20)}`;
}
