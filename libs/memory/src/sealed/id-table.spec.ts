import { newId } from '@alcove/base';
import { IdTable, idToBytes } from './id-table';

it('gives each id one slot, and finds it again', () => {
  const table = new IdTable();
  const ids = Array.from({ length: 5000 }, () => newId('mem'));
  expect(table.find(idToBytes('mem_00000000000000000000'))).toBe(-1);
  expect(ids.map((id) => table.add(idToBytes(id)))).toEqual(ids.map((_, slot) => slot));
  expect(ids.map((id) => table.add(idToBytes(id)))).toEqual(ids.map((_, slot) => slot));
  expect(ids.every((id, slot) => table.find(idToBytes(id)) === slot && table.idOf(slot) === id)).toBe(true);
  expect(table.find(idToBytes('mem_00000000000000000000'))).toBe(-1);
  expect(table.size).toBe(5000);
});
