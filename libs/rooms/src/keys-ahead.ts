import type { RoomKeys } from '@alcove/contracts';
import type { RoomTokens } from '@alcove/keys';
import type { RoomSecrets } from './ports';

interface Fetched {
  readonly keys: Promise<RoomKeys>;
  readonly asked: symbol;
}

/**
 * Fetches a room's keys while its move is being written down, so that a wake does not wait for one after the other. What was fetched ahead is given out once,
 * and thrown away after a moment if nobody came for it: keys are not kept.
 */
export class KeysAhead implements RoomSecrets {
  readonly #ahead = new Map<string, Fetched>();

  constructor(
    private readonly secrets: RoomSecrets,
    private readonly forgetAfter: () => Promise<void>,
  ) {}

  fetch(tenantId: string, userId: string, roomId: string): void {
    const name = `${tenantId}/${roomId}`;
    const asked = Symbol(name);
    const keys = this.secrets.roomKeys(tenantId, userId, roomId);
    // Whoever comes for them hears of the failure; if nobody does, nobody needs to.
    keys.catch(() => undefined);
    this.#ahead.set(name, { keys, asked });
    void this.forgetAfter().then(() => {
      if (this.#ahead.get(name)?.asked === asked) this.#ahead.delete(name);
    });
  }

  roomKeys(tenantId: string, userId: string, roomId: string): Promise<RoomKeys> {
    const name = `${tenantId}/${roomId}`;
    const fetched = this.#ahead.get(name);
    this.#ahead.delete(name);
    return fetched?.keys ?? this.secrets.roomKeys(tenantId, userId, roomId);
  }

  roomTokens(tenantId: string, userId: string, roomId: string): Promise<RoomTokens> {
    return this.secrets.roomTokens(tenantId, userId, roomId);
  }

  sealEnv(tenantId: string, userId: string, roomId: string, vars: Readonly<Record<string, string>>): Promise<string> {
    return this.secrets.sealEnv(tenantId, userId, roomId, vars);
  }

  openEnv(tenantId: string, userId: string, roomId: string, sealed: string): Promise<Record<string, string>> {
    return this.secrets.openEnv(tenantId, userId, roomId, sealed);
  }

  revoked(): Promise<readonly string[]> {
    return this.secrets.revoked();
  }
}
