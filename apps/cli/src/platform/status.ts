import type { Context } from '../context';
import { exitCodes } from '../failure';
import { readLiveStatus, type PlatformStatus } from '../supervisor/status-file';
import { table, type Style } from '../terminal';
import { virtualMachines, type VirtualMachine } from './virtual-machines';

/** Prints what runs. The exit code is 0 when everything is ready, 1 otherwise. */
export async function showStatus(context: Context, json: boolean): Promise<number> {
  const status = await readLiveStatus(context.paths.status);
  const machines = await virtualMachines(context.paths.host);
  if (json) context.print(JSON.stringify({ home: context.paths.home, up: status?.phase === 'ready', platform: status, virtualMachines: machines }, null, 2));
  else context.print(describe(context, status, machines));
  return status?.phase === 'ready' && status.services.every((service) => service.state === 'ready') ? exitCodes.ok : exitCodes.failed;
}

function describe(context: Context, status: PlatformStatus | null, machines: VirtualMachine[]): string {
  const { style } = context;
  const rooms = `  rooms running on this machine: ${machines.length}\n`;
  if (!status) return `\n  The platform of ${context.paths.home} is ${style.bold('down')}.\n${machines.length > 0 ? rooms : ''}`;
  const services = status.services.map((service) => [service.name, service.state, String(service.pid ?? ''), String(service.restarts), String(service.lastEnd ?? '')]);
  const heading = `\n  ${style.bold(status.url)}   ${phase(status, style)}, driver ${status.driver}, up since ${status.startedAt}\n${status.e2bDomain === null ? '' : `  E2B_DOMAIN=${status.e2bDomain}\n`}\n`;
  return `${heading}${table([['process', 'state', 'pid', 'restarts', 'last end'], ...services], style)}\n${rooms}`;
}

function phase(status: PlatformStatus, style: Style): string {
  if (status.phase === 'ready') return style.green('ready');
  return status.phase === 'failed' ? style.red(`failed: ${status.failure?.message ?? ''}`) : style.yellow(status.phase);
}
