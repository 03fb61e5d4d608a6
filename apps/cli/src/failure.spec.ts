import { CliFailure, messageOf, withFullDiskExplained } from './failure';

it('says of a full disk what it is and what to do, by the line of the program that met it', () => {
  const met = new Error("Command failed: cp -- a b\ncp: error writing 'b': No space left on device\n");
  const told = withFullDiskExplained(met);
  expect(told).toBeInstanceOf(CliFailure);
  expect(messageOf(told)).toBe("the disk is full: cp: error writing 'b': No space left on device");
  expect((told as CliFailure).options.mend).toContain('ALCOVE_HOME');
  expect(messageOf(withFullDiskExplained(new Error('ENOSPC: no space left on device, write')))).toBe('the disk is full: ENOSPC: no space left on device, write');
});

it('leaves all else as it is', () => {
  for (const error of [new Error('ENOENT: no such file'), new CliFailure('No space left on device'), 'ENOSPC', undefined]) expect(withFullDiskExplained(error)).toBe(error);
});
