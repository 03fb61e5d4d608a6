/**
 * On every answer. An agent chooses the type of what it answers: a browser must neither guess another one nor run it as a page of ours.
 */
export function answerHeaders(requestId: string): Record<string, string> {
  return { 'x-request-id': requestId, 'x-content-type-options': 'nosniff', 'cache-control': 'no-store', 'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox" };
}
