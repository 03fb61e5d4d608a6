import type { Fields, FieldList } from './fields';
import type { Mux } from './mux';
import { onAbort } from './on-abort';
import { broken, type Asked } from './problems';

export interface Question {
  fields: FieldList;
  /** Says what a RESET of the guest means. */
  asked: Asked;
  signal?: AbortSignal;
}

/** Asks, and takes every message of the answer as it comes; resolves at its end. What onMessage or onEnd throws ends the session. */
export function converse(mux: Mux, { fields, asked, signal }: Question, onMessage: (message: Fields) => void, onEnd: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    let unlisten = () => {};
    const stream = mux.open(
      fields,
      {
        answers: 'messages',
        readable: () => undefined,
        message: onMessage,
        ended: () => {
          onEnd();
          unlisten();
          resolve();
        },
        failed: (error) => {
          unlisten();
          reject(error);
        },
      },
      asked,
    );
    unlisten = onAbort(signal, (reason) => stream.cancel(reason));
    stream.end();
  });
}

/** Asks for exactly one message. `decode` runs where the message arrives, so that a wrong one ends the session. */
export async function ask<T>(mux: Mux, question: Question, decode: (message: Fields) => T): Promise<T> {
  const answers: T[] = [];
  await converse(
    mux,
    question,
    (message) => {
      if (answers.length > 0) throw broken('two answers to one question');
      answers.push(decode(message));
    },
    () => {
      if (answers.length === 0) throw broken('no answer to a question');
    },
  );
  return answers[0] as T;
}

/** Asks for something to be done: the answer has no message. */
export function order(mux: Mux, question: Question): Promise<void> {
  const onMessage = () => {
    throw broken('an answer where there is none');
  };
  return converse(mux, question, onMessage, () => undefined);
}
