import { roomStates, type RoomState } from '@alcove/contracts';
import { deadlineMs } from './change';
import { eventKinds, isMoving, table, type EventKind } from './lifecycle';

/** The lifecycle table as Markdown: the README shows it, and a test keeps the two equal. */
export function lifecycleText(): string {
  const head = ['state', 'deadline', ...eventKinds];
  const rows = roomStates.map((state) => [`**${state}**`, isMoving(state) ? `${deadlineMs(state) / 1000} s` : 'rests', ...eventKinds.map((kind) => cell(state, kind))]);
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function cell(state: RoomState, kind: EventKind): string {
  const rule = table[state][kind];
  if (rule.rule === 'deny') return `deny \`${rule.code}\``;
  if (rule.rule === 'ignore') return rule.why.replaceAll('_', ' ');
  return `→ **${rule.to}**${rule.opens ? ', opens' : ''}${rule.saga ? `, saga \`${rule.saga}\`` : ''}`;
}
