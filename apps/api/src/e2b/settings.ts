/** What the operator says of E2B's face. */
export interface E2bSettings {
  /** `host` or `host:port` below which the edge serves sandboxes; null: clients keep to their own E2B_DOMAIN. */
  readonly domain: string | null;
  /** Names that E2B's clients use for templates of ours. */
  readonly aliases: Readonly<Record<string, string>>;
}

export const E2B_SETTINGS = Symbol('E2B_SETTINGS');
