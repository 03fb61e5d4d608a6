/** Only what was asked for becomes a field. */
export function given(name: string, value: string | number | boolean | undefined): [string, string | number][] {
  if (value === undefined || value === false) return [];
  return [[name, value === true ? 1 : value]];
}
