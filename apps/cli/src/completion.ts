import type { CommandSpec } from './commands';

/** A bash completion function for `./alcove` and `alcove`, made of the table of commands. */
export function bashCompletion(commands: Record<string, CommandSpec>): string {
  const flagsOf = (spec: CommandSpec): string => Object.keys(spec.flags).map((flag) => `--${flag}`).join(' ');
  const cases = Object.entries(commands).map(([name, spec]) => `    ${name}) words="${[...spec.completions ?? [], flagsOf(spec), '--help'].join(' ').trim()}" ;;`);
  return [
    '_alcove() {',
    '  local words',
    '  case "${COMP_WORDS[1]}" in',
    ...cases,
    '    *) words="" ;;',
    '  esac',
    `  if [ "$COMP_CWORD" -le 1 ]; then words="${[...Object.keys(commands), 'help'].join(' ')}"; fi`,
    '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
    '  if [ "${#COMPREPLY[@]}" -eq 0 ]; then COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); fi',
    '}',
    'complete -F _alcove ./alcove alcove',
    '',
  ].join('\n');
}
