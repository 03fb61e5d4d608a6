import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { problemCodes } from '@alcove/contracts';
import { routeTable } from './route';

/** Callers decide by code and status: a code that disappears or changes its status breaks them. New ones are added to the file. */
const golden = JSON.parse(readFileSync(join(__dirname, 'problem-codes.golden.json'), 'utf8')) as Record<string, number>;

it('every code keeps its status', () => {
  expect(Object.fromEntries(Object.entries(problemCodes).map(([code, { status }]) => [code, status]))).toEqual(golden);
});

it('what may be tried again says when', () => {
  for (const [code, entry] of Object.entries(problemCodes)) {
    if (entry.status === 429 || entry.status === 503) expect({ code, says: 'retryAfterMs' in entry }).toEqual({ code, says: code !== 'engine.missing' });
  }
});

it('routes name only problems that exist', () => {
  for (const [id, route] of Object.entries(routeTable)) for (const code of route.problems) expect({ id, code, known: code in problemCodes }).toEqual({ id, code, known: true });
});
