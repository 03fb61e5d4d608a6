import type { Clock } from '@alcove/base';
import { forwardedHeaders, type Exchange } from './exchange';
import { deliver, framing, isRepeatable, send, takeBody } from './passage';
import { Refusal, replies } from './replies';
import { sendUpgrade } from './upgrades';
import { UpstreamFailure, type Upstreams } from './upstream';

/** Passes one request on to the API, to its end. Throws Refusal. */
export async function passToApi(exchange: Exchange, upstreams: Upstreams, clock: Clock): Promise<void> {
  exchange.seat.belong('api');
  const { method, target, authority, upgrade, gone } = exchange;
  const headers = ['Host', authority, ...forwardedHeaders(exchange, () => false)];
  try {
    if (upgrade) {
      await sendUpgrade(exchange, upstreams.toApi(method, target, [...headers, 'Connection', 'Upgrade', 'Upgrade', upgrade.protocol], true));
      return;
    }
    const body = await takeBody(exchange, clock);
    const whole = [...headers, ...framing(exchange, body)];
    let outgoing = upstreams.toApi(method, target, whole);
    const incoming = await send(exchange, outgoing, body).catch((error: unknown) => {
      if (!(error instanceof UpstreamFailure && error.reused && isRepeatable(exchange, body))) throw error;
      outgoing = upstreams.toApi(method, target, whole, true);
      return send(exchange, outgoing, body);
    });
    await deliver(exchange, outgoing, incoming);
  } catch (error) {
    if (gone.aborted) return;
    throw error instanceof UpstreamFailure ? new Refusal(replies.apiAway(), error) : error;
  }
}
