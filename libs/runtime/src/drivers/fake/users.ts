import { Problem } from '@alcove/contracts';

export interface FakeUser {
  name: string;
  uid: number;
  gid: number;
  home: string;
}

export const fakeUsers: readonly FakeUser[] = [
  { name: 'root', uid: 0, gid: 0, home: '/root' },
  { name: 'user', uid: 1000, gid: 1000, home: '/home/user' },
];

/** Problem `request.invalid` when there is none of that name. */
export function userNamed(name: string): FakeUser {
  const user = fakeUsers.find((one) => one.name === name);
  if (!user) throw new Problem('request.invalid', { detail: `no user ${name}` });
  return user;
}
