import { Controller } from '@nestjs/common';
import { Metrics } from '../door/metrics';
import { Asked, Route, type Call } from '../door/route';
import { openApiDocument } from '../openapi/document';
import { docsAsset, docsPage, docsPolicy } from '../openapi/page';
import { Readiness } from '../readiness';

@Controller()
export class PlatformController {
  readonly #document = openApiDocument();

  constructor(
    private readonly metrics: Metrics,
    private readonly readiness: Readiness,
  ) {}

  @Route('healthz')
  healthz(): { ok: true } {
    return { ok: true };
  }

  @Route('readyz')
  async readyz(@Asked() { reply }: Call<'readyz'>): Promise<{ ready: boolean; notReady: string[] }> {
    const notReady = await this.readiness.notReady();
    if (notReady.length > 0) void reply.code(503).header('retry-after', '1');
    return { ready: notReady.length === 0, notReady };
  }

  @Route('metrics')
  async metricsText(@Asked() { reply }: Call<'metrics'>): Promise<string> {
    void reply.type(this.metrics.contentType);
    return this.metrics.text();
  }

  @Route('openapi')
  openapi(): Record<string, unknown> {
    return this.#document;
  }

  @Route('docs')
  docs(@Asked() { reply }: Call<'docs'>): string {
    void reply.type('text/html; charset=utf-8').header('content-security-policy', docsPolicy);
    return docsPage;
  }

  @Route('docsAsset')
  async asset(@Asked() { params, reply }: Call<'docsAsset'>): Promise<Buffer | string> {
    const { type, content } = await docsAsset(params.asset);
    void reply.type(type).header('cache-control', 'private, max-age=3600');
    return content;
  }
}
