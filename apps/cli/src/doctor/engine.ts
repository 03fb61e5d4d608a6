import type { Context } from '../context';
import type { Finding } from './findings';

/** Boots a tiny guest to find out what this machine can really do. */
export async function engineFindings(context: Context): Promise<Finding[]> {
  return [{ name: 'virtual machine', level: 'warn', detail: `not tried (driver ${context.config.driver})` }];
}
